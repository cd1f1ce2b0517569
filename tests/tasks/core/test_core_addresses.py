"""Where lake and heartbeat are: checked before any work, without showing what may be secret."""

import pytest

from tasks.core.addresses import checked_heartbeat, checked_lake
from tasks.core.errors import ConfigurationInvalid

KEY = "planted-key"


@pytest.mark.parametrize(
    "url",
    [
        "/var/lib/fedvitals/lake",
        "lake",
        "file:///a%20b",
        "s3://bucket",
        "s3://bucket/some/prefix",
        "gs://bucket/prefix",
        "az://container/prefix",
    ],
)
def test_a_lake_can_be_there(url: str) -> None:
    assert checked_lake(url) == url


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("hdfs://name/lake", "hdfs:// is not an object store"),
        ("https://bucket.example/lake", "https:// is not an object store"),
        ("s3://", "names no bucket"),
        ("s3:///lake", "names no bucket"),
        (f"s3://me:{KEY}@bucket/lake", "holds credentials"),
        (f"az://container/lake?sig={KEY}", "holds credentials or a part after ?"),
        ("/tmp/100%", "the path has %"),
    ],
)
def test_no_lake_can_be_there(url: str, problem: str) -> None:
    with pytest.raises(ConfigurationInvalid, match="FEDVITALS_LAKE_URL") as caught:
        checked_lake(url)

    assert caught.value.problem.startswith(problem)
    assert KEY not in str(caught.value)


def test_a_heartbeat_is_secret_as_a_whole() -> None:
    url = checked_heartbeat({"FEDVITALS_HEARTBEAT_URL": f"https://hc.example/ping/{KEY}"})

    assert url is not None
    assert url.get_secret_value() == f"https://hc.example/ping/{KEY}"
    assert KEY not in f"{url} {url!r}"
    assert checked_heartbeat({}) is None
    assert checked_heartbeat({"FEDVITALS_HEARTBEAT_URL": ""}) is None


@pytest.mark.parametrize(
    "url",
    [f"hc.example/{KEY}", f"ftp://hc.example/{KEY}", f"https:///{KEY}", f"http://a b/{KEY}",
     f"http://a:0/{KEY}", f"http://[/{KEY}", f"http://a/ü{KEY}", f"http://a/{KEY}\n"],
)  # fmt: skip
def test_what_is_no_heartbeat_is_refused_unseen(url: str) -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        checked_heartbeat({"FEDVITALS_HEARTBEAT_URL": url})

    assert KEY not in str(caught.value)
    assert str(caught.value).startswith("FEDVITALS_HEARTBEAT_URL: is not an http or https URL. ")
