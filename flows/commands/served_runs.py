"""The record of serve's runs, from which the next serve ends those that a crash left."""

import sys
import threading
import time
from pathlib import Path
from uuid import UUID

import psutil
from filelock import FileLock, Timeout
from httpx import HTTPError
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

from tasks.core.whole_file import make_private, replace_file

# set by Prefect for the process of a flow run, and inherited by all that it starts
RUN_VARIABLE = "PREFECT__FLOW_RUN_ID"
# states that hold the place of a deployment
AT_WORK = {StateType.PENDING, StateType.RUNNING, StateType.CANCELLING}
GONE = "Its process is gone (killed, or the machine restarted). Landed data stays; the next run continues"
CHECK_SECONDS = 60


class ServedRuns:
    """A file in the home for each run of serve, with the name of its deployment."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "serve"
        make_private(self._folder)
        self.under_way: set[str] = set()
        self._lock = FileLock(self._folder / "lock")

    def begin(self, run: str, deployment: str) -> None:
        """Record a run before it gets a process."""
        self.under_way.add(run)
        replace_file(self._folder / f"{run}.run", deployment.encode())

    def end(self, run: str) -> None:
        """Forget a run that Prefect has as ended."""
        (self._folder / f"{run}.run").unlink(missing_ok=True)

    def watch(self) -> None:
        """End left runs, now and from a thread, unless another serve has this home."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return
        self._end_left()
        threading.Thread(target=self._watch, name="left runs", daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(CHECK_SECONDS)
            self._end_left()

    def _end_left(self) -> None:
        left = {path.stem for path in self._folder.glob("*.run")} - self.under_way
        for run in left - _alive() if left else ():
            deployment = (self._folder / f"{run}.run").read_text("utf-8")
            try:
                _set_crashed(run, deployment)
            except HTTPError:
                # the server is away; the next turn asks it again
                return
            self.end(run)


def _alive() -> set[str]:
    """Return the flow runs that a process on this machine works on."""
    found = (each.info["environ"] or {} for each in psutil.process_iter(["environ"]))
    return {variables[RUN_VARIABLE] for variables in found if RUN_VARIABLE in variables}


def _set_crashed(run: str, deployment: str) -> None:
    """Set a flow run that is at work for Prefect to Crashed, which frees its place."""
    with get_client(sync_client=True) as client:
        try:
            found = client.read_flow_run(UUID(run))
        except ObjectNotFound:
            return
        if found.state_type in AT_WORK:
            # forced, since Prefect lets a run in Cancelling end as Cancelled only
            client.set_flow_run_state(found.id, Crashed(message=GONE), force=True)
            said = f"{deployment}: run {found.name} set to Crashed, since its process is gone"
            print(f"fedvitals: {said}", file=sys.stderr, flush=True)
