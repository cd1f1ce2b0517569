"""The errors of the demo service. Each takes its facts as arguments and builds its own message."""


class FlServerError(Exception):
    """Root of all errors that the service raises itself; MESSAGE has a place for each fact."""

    MESSAGE = ""

    def __str__(self) -> str:
        return self.MESSAGE.format(*self.args)


class UnsafeHostError(FlServerError, ValueError):
    """The service would be open to other machines without asking for a token."""

    MESSAGE = "host {} can be reached from other machines: set a token, or listen on 127.0.0.1"


class FaultPathError(FlServerError, ValueError):
    """A fault was asked for on the path that sets and clears faults."""

    MESSAGE = "{} takes no faults: they could not be cleared any more"


class MissingTokenError(FlServerError):
    """The environment variable that should hold the token is unset or empty."""

    MESSAGE = "the environment variable {} is unset or empty: set it to the token"


class ListenError(FlServerError):
    """A port (of a host) could not be opened, for the operating system's reason."""

    MESSAGE = "cannot listen on {}:{}: {} (port 0 takes a free one)"


class DivergedError(FlServerError):
    """The model left the finite numbers in a round (from 1): training cannot go on."""

    MESSAGE = "training diverged in round {}: lower the learning rate"
