"""A channel in memory that keeps what people see, and answers as it is asked to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tasks.core.checks import ServiceCheck
from tasks.core.incidents import Acknowledgement, AlertMessage

Answer = Callable[[AlertMessage], Exception | None]


def takes_all(_: AlertMessage) -> Exception | None:
    return None


@dataclass
class FakeChannel:
    """`answer` returns the error that a message gets; `loses` are answers that get lost: the message
    is shown, and the sender gets the error all the same."""

    name: str = "slack"
    answer: Answer = takes_all
    loses: Answer = takes_all
    seen: list[AlertMessage] = field(default_factory=list)
    given: dict[str, Acknowledgement] = field(default_factory=dict)

    def send(self, message: AlertMessage, reference: str) -> str:
        if error := self.answer(message):
            raise error
        self.seen.append(message)
        if error := self.loses(message):
            raise error
        return reference or f"{self.name}-{message.incident_id}"

    def acknowledged(self, references: Mapping[str, str]) -> Mapping[str, Acknowledgement]:
        return {name: one for name, one in self.given.items() if name in references}

    def check(self) -> ServiceCheck:
        return ServiceCheck(self.name, "answers", True, "in memory")

    def close(self) -> None:
        """Nothing is open."""

    @property
    def actions(self) -> list[tuple[str, str]]:
        """Name and action of each message that was shown."""
        return [(one.name, one.action) for one in self.seen]
