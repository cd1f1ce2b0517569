"""The servers of ours that run beside `fedvitals serve`."""

import sys
from contextlib import AbstractContextManager

from tasks.core.health import read_health
from tasks.core.settings import Settings
from tasks.servers.supervisor import supervised


def commands(settings: Settings) -> dict[str, list[str]]:
    """Return their commands by name; there is none without anything to check."""
    config = read_health(settings)
    is_checked = any(
        config.targets(one) or config.pushed_in(one.name) for one in settings.environments.values()
    )
    watch = [sys.executable, "-m", "fedvitals", "health", "watch"]
    return {"health watch": watch} if is_checked else {}


def beside(settings: Settings) -> AbstractContextManager[None]:
    """Keep them running within the block."""
    return supervised(commands(settings))
