"""The command line: what it makes of options and environment, and what it refuses."""

import argparse

import pytest

from deployments.services.fl_server.__main__ import main, settings_from
from deployments.services.fl_server.settings import TESTING_SEED

OPTIONS = (
    "host",
    "port",
    "https_port",
    "tls_dir",
    "state_dir",
    "token_env",
    "clients",
    "rounds",
    "round_seconds",
    "seed",
    "sampling_rate",
    "noise_multiplier",
    "epsilon_budget",
)


def options(**given: object) -> argparse.Namespace:
    return argparse.Namespace(**{**dict.fromkeys(OPTIONS), **given})


def test_options_left_out_keep_the_defaults() -> None:
    settings = settings_from(options(rounds=3), {})
    assert (settings.federation.rounds, settings.federation.clients) == (3, 200)
    assert (settings.host, settings.port, settings.token) == ("127.0.0.1", 8000, None)


def test_testing_fixes_the_seed_and_nothing_else_does() -> None:
    testing = {"FED_VIT_AUTORL_ENV": "testing"}
    assert settings_from(options(), testing).federation.seed == TESTING_SEED
    assert settings_from(options(seed=4), testing).federation.seed == 4
    drawn = {settings_from(options(), {}).federation.seed for _ in range(2)}
    assert len(drawn) == 2


@pytest.mark.parametrize(
    ("named", "environ", "token"),
    [
        (None, {}, None),
        (None, {"FED_VIT_API_TOKEN": ""}, None),
        (None, {"FED_VIT_API_TOKEN": "a"}, "a"),
        ("OTHER", {"FED_VIT_API_TOKEN": "a", "OTHER": "b"}, "b"),
    ],
)
def test_the_token_comes_from_its_variable(
    named: str | None, environ: dict[str, str], token: str | None
) -> None:
    settings = settings_from(options(token_env=named), environ)
    assert (settings.token and settings.token.get_secret_value()) == token


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "set a token"),
        (["--clients", "1"], "federation.clients"),
        (["--token-env", "NO_SUCH_TOKEN"], "NO_SUCH_TOKEN"),
    ],
)
def test_wrong_settings_end_with_2_and_one_clear_line(
    arguments: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("FED_VIT_API_TOKEN", raising=False)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert said in captured.err
    assert captured.err.count("\n") == 1


def test_an_unknown_option_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--token", "s3cret"])
    assert "unrecognized arguments" in capsys.readouterr().err
