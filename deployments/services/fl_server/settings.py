"""All settings of the demo service, with their defaults and units."""

import ipaddress
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from deployments.services.fl_server.errors import UnsafeHostError

VERSION = "0.1.0"
ENVIRONMENT_VARIABLE = "FED_VIT_AUTORL_ENV"
TOKEN_VARIABLE = "FED_VIT_API_TOKEN"
TESTING = "testing"
TESTING_SEED = 20_240_229
DEADLINE_SHARE = 0.8


class FederationSettings(BaseModel):
    """One federated training run.

    The noise on an averaged weight, noise_multiplier * clip_norm / (sampling_rate * clients), falls
    with the clients; epsilon does not depend on them. With 12 clients it drowns the model; with 200
    it is 0.027 a weight, the accuracy ends at 0.91 to 0.93, and 60 rounds cost epsilon 7.9 at
    delta 1e-5, 79 % of the budget.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    clients: int = Field(200, ge=2, le=1000)  # number of simulated clients
    rounds: int = Field(60, ge=1)  # rounds to run, unless the privacy budget ends first
    round_seconds: float = Field(1.0, ge=0)  # wall time of a round, in seconds; 0 runs unpaced
    seed: int = Field(0, ge=0)  # seed of everything random: split, clients, noise, edge devices
    label_concentration: float = Field(0.5, gt=0)  # Dirichlet parameter; small is far from IID
    sampling_rate: float = Field(0.4, gt=0, lt=1)  # probability that a connected client is drawn
    dropout_rate: float = Field(0.06, ge=0, le=1)  # probability that a drawn client is lost
    straggler_rate: float = Field(0.05, ge=0, le=1)  # probability that one is 3 to 6 times slower
    local_steps: int = Field(5, ge=1)  # full-batch gradient steps of a client
    learning_rate: float = Field(0.5, gt=0)  # step size of these gradient steps
    clip_norm: float = Field(1.0, gt=0)  # largest L2 norm of a client's update
    noise_multiplier: float = Field(2.2, gt=0)  # of the sum of updates, in clip norms
    lossy_clients: int = Field(0, ge=0)  # clients whose network loses a fifth of its packets
    delta: float = Field(1e-5, gt=0, lt=1)  # the delta at which epsilon is counted
    epsilon_budget: float = Field(10.0, gt=0)  # training ends before it costs more

    @property
    def expected_clients(self) -> float:
        """Return the clients drawn in a round on average, if all are connected."""
        return self.sampling_rate * self.clients

    @property
    def noise_scale(self) -> float:
        """Return the standard deviation of the noise on each averaged weight."""
        return self.noise_multiplier * self.clip_norm / self.expected_clients

    @property
    def deadline_seconds(self) -> float:
        """Return simulated seconds until an update is late; an unpaced round is 1 s."""
        return DEADLINE_SHARE * (self.round_seconds or 1.0)


class ServerSettings(BaseModel):
    """The service's address, its token, and its training."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    host: str = "127.0.0.1"  # address to listen on; one that is not loopback needs a token
    port: int = Field(8000, ge=0, le=65535)  # HTTP port; 0 takes a free one
    https_port: int | None = Field(None, ge=0, le=65535)  # 0 takes a free one; none: no HTTPS
    tls_dir: Path | None = None  # folder for the CA file; by default inside the state folder
    certificate_days: float = Field(90.0, gt=0)  # life of the certificate made at start, in days
    state_dir: Path | None = None  # folder for the saved model; else a temporary one
    token: SecretStr | None = Field(None, min_length=1)  # for every path but /health
    environment: str = Field("demo", min_length=1)  # "testing" opens the fault knobs
    federation: FederationSettings = FederationSettings()  # the training run

    @property
    def testing(self) -> bool:
        """Return whether the fault knobs are open."""
        return self.environment == TESTING

    @model_validator(mode="after")
    def _refuse_an_open_door(self) -> Self:
        if self.token is None and not _is_loopback(self.host):
            raise UnsafeHostError(self.host)
        return self


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
