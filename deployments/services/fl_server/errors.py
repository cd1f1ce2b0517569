"""Errors of the demo service; each builds its message from its facts."""


class FlServerError(Exception):
    """Root of the service's own errors; MESSAGE has a place for each fact."""

    MESSAGE = ""

    def __str__(self) -> str:
        return self.MESSAGE.format(*self.args)


class UnsafeHostError(FlServerError, ValueError):
    """The service would be open to other machines without a token."""

    MESSAGE = "host {} can be reached from other machines. Fix: set a token, or listen on 127.0.0.1"


class FaultPathError(FlServerError, ValueError):
    """A fault was set on the path that sets and clears faults."""

    MESSAGE = "{} takes no faults: they could not be cleared any more"


class MissingTokenError(FlServerError):
    """The environment variable that should hold the token is unset or empty."""

    MESSAGE = "the environment variable {} is unset or empty. Fix: set it to the token"


class ListenError(FlServerError):
    """A port (of a host) could not be opened, for the operating system's reason."""

    MESSAGE = "cannot listen on {}:{}: {}. Fix: free the port, or use port 0 for a free one"


class DivergedError(FlServerError):
    """The model is no longer finite after a round (from 1): training cannot continue."""

    MESSAGE = "training diverged in round {}. Fix: lower the learning rate"
