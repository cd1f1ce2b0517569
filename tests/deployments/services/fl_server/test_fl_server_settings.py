"""Settings: defaults, derived values, what is refused."""

import pytest
from pydantic import ValidationError

from deployments.services.fl_server.settings import FederationSettings, ServerSettings


def test_noise_scale_follows_the_mechanism() -> None:
    settings = FederationSettings(
        clients=100, sampling_rate=0.2, clip_norm=0.5, noise_multiplier=2.0
    )
    assert settings.expected_clients == 20
    assert settings.noise_scale == pytest.approx(0.05)


@pytest.mark.parametrize(("round_seconds", "deadline"), [(2.0, 1.6), (0.0, 0.8)])
def test_deadline_is_a_share_of_the_round_and_unpaced_counts_as_one_second(
    round_seconds: float, deadline: float
) -> None:
    settings = FederationSettings(round_seconds=round_seconds)
    assert settings.deadline_seconds == pytest.approx(deadline)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    assert ServerSettings(host=host).token is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "fl.example.org"])
def test_another_host_needs_a_token(host: str) -> None:
    with pytest.raises(ValidationError, match="set a token"):
        ServerSettings(host=host)
    assert ServerSettings(host=host, token="s3cret").host == host


def test_a_token_is_never_shown() -> None:
    assert "s3cret" not in repr(ServerSettings(token="s3cret"))
    with pytest.raises(ValidationError) as refused:
        ServerSettings.model_validate({"token": "s3cret", "port": -1, "tokn": "s3cret"})
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("model", [FederationSettings, ServerSettings])
def test_a_misspelt_key_is_refused(model: type[FederationSettings | ServerSettings]) -> None:
    with pytest.raises(ValidationError, match="clientss"):
        model.model_validate({"clientss": 3})


@pytest.mark.parametrize(
    "wrong", [{"clients": 1}, {"sampling_rate": 1.0}, {"noise_multiplier": 0.0}, {"seed": -1}]
)
def test_a_value_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        FederationSettings.model_validate(wrong)


def test_only_the_testing_environment_opens_the_knobs() -> None:
    assert ServerSettings(environment="testing").testing
    assert not ServerSettings().testing
