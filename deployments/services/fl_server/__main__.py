"""The command line: python -m deployments.services.fl_server."""

import argparse
import logging
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from deployments.services.fl_server import server
from deployments.services.fl_server.errors import FlServerError, MissingTokenError
from deployments.services.fl_server.settings import (
    ENVIRONMENT_VARIABLE,
    TESTING,
    TESTING_SEED,
    TOKEN_VARIABLE,
    FederationSettings,
    ServerSettings,
)

LOG = logging.getLogger("fl_server")
EXIT_FAILED = 1
EXIT_USAGE = 2
DROWNING_NOISE = 0.1
SEED_BITS = 32
SERVER_OPTIONS = ("host", "port", "https_port", "tls_dir", "state_dir")
FEDERATION_OPTIONS = (
    "clients",
    "rounds",
    "round_seconds",
    "sampling_rate",
    "noise_multiplier",
    "epsilon_budget",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until stopped. Exit code 0; 1 when the service cannot run; 2 for wrong settings."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    try:
        settings = settings_from(_parser().parse_args(arguments), os.environ)
    except ValidationError as error:
        for line in _problems(error):
            print(f"error: {line}", file=sys.stderr)
        return EXIT_USAGE
    except MissingTokenError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    _warn_of_noise(settings.federation)
    try:
        server.run(settings)
    except (FlServerError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED
    return 0


def settings_from(options: argparse.Namespace, environ: Mapping[str, str]) -> ServerSettings:
    """The settings that the options and the environment ask for.

    ValidationError for a value out of range or a host that would be open to all;
    MissingTokenError when --token-env names a variable that is not set.
    """
    environment = environ.get(ENVIRONMENT_VARIABLE, "demo")
    federation = _given(options, FEDERATION_OPTIONS)
    federation["seed"] = _seed(options.seed, environment)
    return ServerSettings.model_validate(
        {
            **_given(options, SERVER_OPTIONS),
            "token": _token(options.token_env, environ),
            "environment": environment,
            "federation": federation,
        }
    )


def _given(options: argparse.Namespace, names: tuple[str, ...]) -> dict[str, object]:
    values = {name: getattr(options, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _seed(wanted: int | None, environment: str) -> int:
    if wanted is not None:
        return wanted
    return TESTING_SEED if environment == TESTING else secrets.randbits(SEED_BITS)


def _token(named: str | None, environ: Mapping[str, str]) -> str | None:
    token = environ.get(named or TOKEN_VARIABLE) or None
    # a variable that was asked for and is empty must not open the door
    if named is not None and token is None:
        raise MissingTokenError(named)
    return token


def _problems(error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors(include_url=False, include_input=False):
        path = ".".join(str(part) for part in problem["loc"])
        text = problem["msg"].removeprefix("Value error, ")
        lines.append(f"{path}: {text}" if path else text)
    return lines


def _warn_of_noise(federation: FederationSettings) -> None:
    if federation.noise_scale > DROWNING_NOISE:
        LOG.warning(
            "the privacy noise will drown the model: noise_scale=%.3f clients=%d "
            "(more clients, or a lower noise multiplier)",
            federation.noise_scale,
            federation.clients,
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deployments.services.fl_server",
        allow_abbrev=False,
        description="A small, real federated-learning server to be monitored. "
        "Prints one line of JSON with its URLs once it is ready.",
        epilog=f"{TOKEN_VARIABLE} holds the bearer token, if one is to be asked for. "
        f"{ENVIRONMENT_VARIABLE}={TESTING} fixes the seed and opens the fault knobs.",
    )
    _add_server_options(parser)
    _add_federation_options(parser)
    return parser


def _add_server_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--host", help="address to listen on (127.0.0.1); any other than loopback needs a token")
    add("--port", type=int, help="HTTP port (8000); 0 takes a free one")
    add("--https-port", type=int, help="HTTPS port (no HTTPS without); 0 takes a free one")
    add("--tls-dir", type=Path, help="folder for ca.pem (the state folder)")
    add("--state-dir", type=Path, help="folder for the saved model (a temporary one)")
    add("--token-env", metavar="NAME", help=f"variable with the token ({TOKEN_VARIABLE})")


def _add_federation_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--clients", type=int, help="simulated clients (200)")
    add("--rounds", type=int, help="rounds of training (60)")
    add("--round-seconds", type=float, help="wall time of a round (1); 0 runs unpaced")
    add("--seed", type=int, help="seed (drawn at random)")
    add("--sampling-rate", type=float, help="probability that a client is drawn (0.4)")
    add("--noise-multiplier", type=float, help="noise in units of the clip norm (2.2)")
    add("--epsilon-budget", type=float, help="training ends before it is exceeded (10)")


if __name__ == "__main__":
    sys.exit(main())
