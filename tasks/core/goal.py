"""The goal of a training: its metric, target level and number of rounds."""

from typing import Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from tasks.core.documents import Strict
from tasks.core.errors import UsageInvalid
from tasks.core.training import MOST_ROUNDS

TARGET_FIX = "Give an accuracy such as 0.9 or 90%, or a loss such as 0.25"
TARGET = "target"


class Goal(Strict):
    """The goal of a service's trainings; None leaves a value to the service.

    target is in the metric's own unit, an accuracy as a share, 0 to 1; it is an accuracy unless the
    metric is loss. total_rounds applies where the service does not report how many are planned.
    """

    metric: Literal["accuracy", "loss"] | None = Field(
        default=None, description="metric that a run is judged by; by default accuracy, else loss"
    )
    target: float | None = Field(default=None, description="level to reach, such as 0.9 or 90%")
    total_rounds: int | None = Field(
        default=None, ge=1, le=MOST_ROUNDS, description="number of planned rounds"
    )

    @field_validator(TARGET, mode="before")
    @classmethod
    def _possible(cls, given: object, info: ValidationInfo) -> float | None:
        return None if given is None else target_of(str(given), info.data.get("metric") != "loss")

    def with_options(
        self, metric: str | None, target: str | None, total_rounds: int | None
    ) -> "Goal":
        """Return the goal with one run's options; raise UsageInvalid naming a wrong one."""
        is_same = metric in (None, self.metric) or (metric, self.metric) == ("accuracy", None)
        try:
            return Goal.model_validate(
                {
                    "metric": metric or self.metric,
                    "target": target or (self.target if is_same else None),
                    "total_rounds": self.total_rounds if total_rounds is None else total_rounds,
                }
            )
        except ValidationError as error:
            raise _refused(error, {"metric": metric, "target": target}) from None


def target_of(text: str, is_share: bool, in_percent: bool = False) -> float:
    """Parse a level into the metric's own unit.

    A share is in percent with a percent sign, or above 1 where the metric is reported in_percent.
    Raises ValueError for anything but a number, and for a level that the metric cannot have.
    """
    bare = text.strip().removesuffix("%").strip()
    try:
        value = float(bare)
    except ValueError:
        value = float("nan")
    if value != value:
        raise ValueError("it is not a number")
    if is_share and (bare != text.strip() or (in_percent and value > 1.0)):
        value /= 100.0
    if value < 0.0 or value == float("inf"):
        raise ValueError("it is out of range")
    if is_share and value > 1.0:
        raise ValueError("it is out of range: an accuracy is a share, 0 to 1")
    return value


def _refused(error: ValidationError, options: dict[str, str | None]) -> UsageInvalid:
    detail = error.errors()[0]
    name = str(detail["loc"][0])
    given = "" if options.get(name) is None else f" {options[name]}"
    return UsageInvalid(
        argument=f"--{name.replace('_', '-')}{given}",
        problem=detail["msg"].removeprefix("Value error, "),
        fix=TARGET_FIX if name == TARGET else "Give another value, or leave it out",
    )
