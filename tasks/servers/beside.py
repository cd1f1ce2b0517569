"""The servers of ours that run beside `fedvitals serve`."""

import sys
from contextlib import AbstractContextManager

from tasks.core.health import read_health
from tasks.core.settings import Settings
from tasks.runs.base.registry import alert_channels_in
from tasks.servers.supervisor import supervised


def commands(settings: Settings) -> dict[str, list[str]]:
    """Return their commands by name: of what there is something to do for."""
    config = read_health(settings)
    is_checked = any(
        config.targets(one) or config.pushed_in(one.name) for one in settings.environments.values()
    )
    fedvitals = [sys.executable, "-m", "fedvitals"]
    watch = {"health watch": [*fedvitals, "health", "watch"]} if is_checked else {}
    has_alerts = any(
        "alertmanager" in one.services for one in settings.environments.values()
    ) or any(alert_channels_in(settings))
    intake = {"alerts serve": [*fedvitals, "alerts", "serve"]} if has_alerts else {}
    return watch | intake


def beside(settings: Settings) -> AbstractContextManager[None]:
    """Keep them running within the block."""
    return supervised(commands(settings))
