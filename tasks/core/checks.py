"""Result of checking an external service."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ServiceCheck:
    """One check of a service; `fix` is the advice when it is not ok."""

    service: str
    what: str
    ok: bool
    detail: str
    fix: str = ""
