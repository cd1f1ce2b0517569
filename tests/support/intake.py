"""`fedvitals alerts serve` as a process, and the webhooks that an Alertmanager sends it."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from tests.support.installation import COMMAND, FOREIGN
from tests.support.process import Process, answers, free_port

TOKEN = "intake-token"
# what may be set on the machine of the tests
SERVICES = (*FOREIGN, "SLACK_", "PAGERDUTY_", "GITHUB_", "EMAIL_", "APPRISE_", "ALERTMANAGER_")
ZERO = "0001-01-01T00:00:00Z"


class IntakeProcess(Process):
    """One intake on the ledger of `folder`/home; it has the same port after a restart."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.ledger_url = f"sqlite:///{folder}/home/ledger.db"
        command, log = [str(COMMAND), "alerts", "serve"], folder / "intake.log"
        super().__init__("intake", command, log, answers(f"{self.url}/health"))
        kept = {name: text for name, text in self.env.items() if not name.startswith(SERVICES)}
        self.env = {
            **kept,
            "FEDVITALS_HOME": str(folder / "home"),
            "FEDVITALS_ALERTS_ADDRESS": f"127.0.0.1:{self.port}",
            "FEDVITALS_INTAKE_TOKEN": TOKEN,
            **variables,
        }


def a_webhook(name: str, severity: str, began: datetime, *, ended: bool = False) -> bytes:
    """A webhook about one alert."""
    status = "resolved" if ended else "firing"
    labels = {"alertname": name, "severity": severity, "job": "fed-server", "instance": "10.0.0.1"}
    alert = {
        "status": status,
        "labels": labels,
        "annotations": {"summary": f"{name} is above 0.8 for 5 minutes"},
        "startsAt": began.isoformat(),
        "endsAt": (began + timedelta(seconds=30)).isoformat() if ended else ZERO,
        "generatorURL": "http://prometheus:9090/graph?g0.expr=loss+%3E+0.8",
        "fingerprint": "0" * 16,
    }
    group = {"receiver": "fedvitals", "groupKey": name, "externalURL": "http://alertmanager:9093"}
    common = {"groupLabels": {"alertname": name}, "commonLabels": labels, "commonAnnotations": {}}
    return json.dumps(
        {"version": "4", "status": status, "alerts": [alert], **group, **common}
    ).encode()
