"""The errors of the demo service. Each takes its facts as arguments and builds its own message."""


class FlServerError(Exception):
    """Root of all errors that the service raises itself."""


class UnsafeHostError(FlServerError, ValueError):
    """The service would be open to other machines without asking for a token."""

    def __init__(self, host: str) -> None:
        """Keep the address."""
        super().__init__(host)
        self.host = host

    def __str__(self) -> str:
        """Say why it is refused and what to do."""
        return (
            f"host {self.host} can be reached from other machines: "
            "set a token, or listen on 127.0.0.1"
        )


class FaultPathError(FlServerError, ValueError):
    """A fault was asked for on the path that sets and clears faults."""

    def __init__(self, path: str) -> None:
        """Keep the path."""
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        """Say why it is refused."""
        return f"{self.path} takes no faults: they could not be cleared any more"


class MissingTokenError(FlServerError):
    """The environment variable that should hold the token is unset or empty."""

    def __init__(self, variable: str) -> None:
        """Keep the name of the variable (never its value)."""
        super().__init__(variable)
        self.variable = variable

    def __str__(self) -> str:
        """Say which variable to set."""
        return f"the environment variable {self.variable} is unset or empty: set it to the token"


class ListenError(FlServerError):
    """A port could not be opened."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        """Keep the address and the operating system's reason."""
        super().__init__(host, port, reason)
        self.host = host
        self.port = port
        self.reason = reason

    def __str__(self) -> str:
        """Say which address is not to be had, and why."""
        return f"cannot listen on {self.host}:{self.port}: {self.reason} (port 0 takes a free one)"


class DivergedError(FlServerError):
    """The model left the finite numbers: training cannot go on."""

    def __init__(self, round_number: int) -> None:
        """Keep the number of the round (from 1) that diverged."""
        super().__init__(round_number)
        self.round_number = round_number

    def __str__(self) -> str:
        """Say where it happened and what to change."""
        return f"training diverged in round {self.round_number}: lower the learning rate"
