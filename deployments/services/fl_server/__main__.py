"""The command line: python -m deployments.services.fl_server."""

import argparse
import logging
import os
import secrets
import sys
from collections.abc import Mapping, Sequence

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
OPTIONS = {
    "host": "address to listen on (127.0.0.1); any other than loopback needs a token",
    "port": "HTTP port (8000); 0 takes a free one",
    "https_port": "HTTPS port (no HTTPS without); 0 takes a free one",
    "tls_dir": "folder for ca.pem (the state folder)",
    "state_dir": "folder for the saved model (a temporary one)",
    "token_env": f"variable with the token ({TOKEN_VARIABLE})",
    "clients": "simulated clients (200)",
    "rounds": "rounds of training (60)",
    "round_seconds": "wall time of a round (1); 0 runs unpaced",
    "seed": "seed (drawn at random)",
    "sampling_rate": "probability that a client is drawn (0.4)",
    "noise_multiplier": "noise in units of the clip norm (2.2)",
    "lossy_clients": "clients whose network loses a fifth of its packets (0)",
    "epsilon_budget": "training ends before it is exceeded (10)",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until stopped; return 0, 1 if it cannot run, 2 for wrong settings."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    try:
        settings = settings_from(_parser().parse_args(arguments), os.environ)
    except (ValidationError, MissingTokenError) as error:
        lines = _problems(error) if isinstance(error, ValidationError) else [str(error)]
        print(*(f"error: {line}" for line in lines), sep="\n", file=sys.stderr)
        return EXIT_USAGE
    _warn_of_noise(settings.federation)
    try:
        server.run(settings)
    except (FlServerError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED
    return 0


def settings_from(options: argparse.Namespace, environ: Mapping[str, str]) -> ServerSettings:
    """Build settings from options and environment, or raise."""
    environment = environ.get(ENVIRONMENT_VARIABLE, "demo")
    given = {name: value for name, value in vars(options).items() if value is not None}
    given["token"] = _token(given.pop("token_env", None), environ)
    seed = TESTING_SEED if environment == TESTING else secrets.randbits(SEED_BITS)
    trained = {n: given.pop(n) for n in FederationSettings.model_fields if n in given}
    federation = {"seed": seed, **trained}
    return ServerSettings.model_validate(
        {**given, "environment": environment, "federation": federation}
    )


def _token(named: str | None, environ: Mapping[str, str]) -> str | None:
    token = environ.get(named or TOKEN_VARIABLE) or None
    # an empty token variable must not disable authentication
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
        epilog=f"{TOKEN_VARIABLE} holds the bearer token, if one is required. "
        f"{ENVIRONMENT_VARIABLE}={TESTING} fixes the seed and opens the fault knobs.",
    )
    # the settings parse each text
    for name, text in OPTIONS.items():
        metavar = "NAME" if name == "token_env" else None
        parser.add_argument(f"--{name.replace('_', '-')}", metavar=metavar, help=text)
    return parser


if __name__ == "__main__":
    sys.exit(main())
