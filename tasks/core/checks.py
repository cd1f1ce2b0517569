"""Result of checking an external service."""

from dataclasses import dataclass

from tasks.core.outside import shortened


@dataclass(frozen=True)
class ServiceCheck:
    """One check of a service; `fix` is the advice when it is not ok, or a warning."""

    service: str
    what: str
    ok: bool
    detail: str
    fix: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", shortened(self.detail))
