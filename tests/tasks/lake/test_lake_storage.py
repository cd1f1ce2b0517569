"""What the Delta library is reported of an object store, and what is reported of its troubles.

GCS and Azure have no server to test on here: that their variables arrive is what is held.
"""

import pytest

from tasks.core.errors import LakeRefused, LakeUnavailable
from tasks.lake.storage import first_and_last, scheme_of, storage_options, trouble

pytestmark = pytest.mark.promise(
    "Sources: a failing object store is reported in one line without a secret, and the next run catches up"
)

PATIENCE = {
    "timeout": "20s", "connect_timeout": "5s", "max_retries": "3", "retry_timeout": "20s",
}  # fmt: skip
SECRET = "planted-secret"
EVERYTHING = {
    "AWS_ACCESS_KEY_ID": "me",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "GOOGLE_SERVICE_ACCOUNT": "/etc/key.json",
    "AZURE_STORAGE_ACCOUNT_NAME": "account",
    "AZURE_STORAGE_ACCOUNT_KEY": "",
    "PATH": "/bin",
}


@pytest.mark.parametrize(
    ("url", "scheme"),
    [
        ("/lake", None),
        ("file:///lake", None),
        ("s3://b/l", "s3"),
        ("gs://b", "gs"),
        ("az://c", "az"),
    ],
)
def test_scheme_of(url: str, scheme: str | None) -> None:
    assert scheme_of(url) == scheme


@pytest.mark.parametrize("url", ["lake", "/lake", "file:///lake"])
def test_a_local_lake_is_reported_nothing(url: str) -> None:
    assert storage_options(url, EVERYTHING) is None


@pytest.mark.parametrize(
    ("url", "own"),
    [
        (
            "s3://bucket/lake",
            {
                "AWS_ACCESS_KEY_ID": "me",
                "AWS_SECRET_ACCESS_KEY": SECRET,
                "AWS_CONDITIONAL_PUT": "etag",
            },
        ),
        ("gs://bucket/lake", {"GOOGLE_SERVICE_ACCOUNT": "/etc/key.json"}),
        ("az://container/lake", {"AZURE_STORAGE_ACCOUNT_NAME": "account"}),
    ],
)
def test_each_store_gets_its_own_variables(url: str, own: dict[str, str]) -> None:
    assert storage_options(url, EVERYTHING) == {**PATIENCE, **own}


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_store_of_ones_own(name: str, scheme: str) -> None:
    options = storage_options("s3://b/l", {name: f"{scheme}://127.0.0.1:9000"})

    assert options is not None
    assert options["AWS_ENDPOINT_URL"] == f"{scheme}://127.0.0.1:9000"
    assert options["AWS_REGION"] == "us-east-1"
    assert options["AWS_ALLOW_HTTP"] == ("true" if scheme == "http" else "false")


@pytest.mark.parametrize(
    ("given", "region"),
    [
        ({"AWS_DEFAULT_REGION": "eu-west-1"}, "eu-west-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-1", "AWS_REGION": "eu-north-1"}, "eu-north-1"),
        ({"AWS_ENDPOINT_URL": "http://a", "AWS_DEFAULT_REGION": "eu-west-1"}, "eu-west-1"),
        ({}, None),
    ],
)
def test_region(given: dict[str, str], region: str | None) -> None:
    assert (storage_options("s3://b/l", given) or {}).get("AWS_REGION") == region


def test_what_the_user_says_goes_before_our_defaults() -> None:
    locked = storage_options("s3://b/l", {"AWS_S3_LOCKING_PROVIDER": "dynamodb"}) or {}
    other = storage_options("s3://b/l", {"AWS_CONDITIONAL_PUT": "disabled"}) or {}

    assert "AWS_CONDITIONAL_PUT" not in locked
    assert other["AWS_CONDITIONAL_PUT"] == "disabled"


def asked(*causes: str) -> OSError:
    """The library's words, as it has them: a cause a line, with the whole URL in the first."""
    first = f"Generic S3 error\n ↳ Error performing GET https://b.example/x?sig={SECRET} in 5ms"
    return OSError("\n".join([first, *(f"  \x1b[31m↳\x1b[0m {cause}" for cause in causes)]))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            asked("404 Not Found", "<Error><Code>NoSuchBucket</Code></Error>"),
            "there is no such bucket (HTTP 404 NoSuchBucket)",
        ),
        (
            asked("404 The container", "<Code>ContainerNotFound</Code>"),
            "there is no such bucket (HTTP 404 ContainerNotFound)",
        ),
        (asked("403 Forbidden"), "the object store refuses the credentials (HTTP 403)"),
        (
            asked("401 Unauthorized", "<Code>InvalidToken</Code>"),
            "the object store refuses the credentials (HTTP 401 InvalidToken)",
        ),
        (
            OSError("Generic GCS error\n ↳ GCP credential error\n  ↳ Unable to open /key.json"),
            "the object store refuses the credentials (they cannot be used)",
        ),
        (asked("400 Bad Request"), "the object store refuses the request (HTTP 400)"),
    ],
)
def test_what_will_not_work_next_time_either(error: OSError, words: str) -> None:
    reported = trouble("load", error)

    assert isinstance(reported, LakeRefused)
    assert str(reported).startswith(f"lake table load: {words}. Fix: check FEDVITALS_LAKE_URL")
    assert SECRET not in str(reported)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (asked("error sending request", "Connection refused (os error 111)"), "Connection refused (os error 111)"),
        (asked("error sending request", "operation timed out"), "operation timed out"),
        (asked("503 Service Unavailable", "<Code>SlowDown</Code>"), "HTTP 503 SlowDown"),
        (asked("429 Too Many Requests"), "HTTP 429"),
        (asked(), "no answer"),
    ],
)  # fmt: skip
def test_what_may_work_next_time(error: OSError, words: str) -> None:
    reported = trouble("load", error)

    assert isinstance(reported, LakeUnavailable)
    assert f"the object store did not answer: {words}. Fix: check" in str(reported)
    assert SECRET not in str(reported)


def test_other_troubles_are_the_tables_own() -> None:
    assert trouble("load", OSError("Permission denied (os error 13)")) is None
    assert trouble("load", OSError("Parquet file has no magic bytes")) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "Generic LocalFileSystem error\n  \x1b[31m↳\x1b[0m Unable to copy data to file\n"
            "  \x1b[31m↳\x1b[0m No space left on device (os error 28)\n",
            "No space left on device",
        ),
        ("Unable to copy data to file: File too large (os error 27)", "File too large"),
    ],
)
def test_a_full_disk(text: str, words: str) -> None:
    reported = trouble("example", OSError(text))
    assert isinstance(reported, LakeRefused)
    assert str(reported) == (
        f"lake table example: the disk is full ({words}). "
        "Fix: free space; nothing was lost, the next run tries again"
    )


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("one\n  \x1b[31m↳\x1b[0m two\n  ↳ three\n", "one: three"),
        ("one\n  ↳ http://store/secret", "one"),
        ("one", "one"),
        ("", "OSError"),
    ],
)
def test_first_and_last_cause(text: str, reported: str) -> None:
    assert first_and_last(OSError(text)) == reported
