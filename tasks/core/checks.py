"""What a look at one outside service found."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ServiceCheck:
    """One thing that was tried on a service; `fix` says what to do when it is not ok."""

    service: str
    what: str
    ok: bool
    detail: str
    fix: str = ""
