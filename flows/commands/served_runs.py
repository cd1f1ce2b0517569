"""The record of serve's runs, from which the next serve ends those that a crash left."""

import sys
from contextlib import suppress
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


class ServedRuns:
    """A file in the home for each run of serve, with the name of its deployment."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "serve"
        make_private(self._folder)
        self.under_way: set[str] = set()
        self._lock = FileLock(self._folder / "lock", thread_local=False)

    def begin(self, run: str, deployment: str) -> Path:
        """Record a run before it gets a process; return the file, which its end removes."""
        self.under_way.add(run)
        path = self._folder / f"{run}.run"
        # the run itself reports a full disk
        with suppress(OSError):
            replace_file(path, deployment.encode())
        return path

    def end_left(self) -> None:
        """Set runs that no process works on to Crashed, unless another serve has this home."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return
        left = {path.stem: path for path in self._folder.glob("*.run")}
        for run in left.keys() - self.under_way - _alive() if left else ():
            # it ended meanwhile, or the server is away and is asked again
            with suppress(FileNotFoundError, HTTPError):
                _set_crashed(UUID(run), left[run].read_text("utf-8"))
                left[run].unlink()


def _alive() -> set[str]:
    """Return the flow runs that a process on this machine works on."""
    found = (each.info["environ"] or {} for each in psutil.process_iter(["environ"]))
    return {variables[RUN_VARIABLE] for variables in found if RUN_VARIABLE in variables}


def _set_crashed(run: UUID, deployment: str) -> None:
    """Set a flow run that is at work for Prefect to Crashed, which frees its place."""
    with get_client(sync_client=True) as client, suppress(ObjectNotFound):
        found = client.read_flow_run(run)
        if found.state_type in AT_WORK:
            # forced, since a run in Cancelling may become Cancelled only
            client.set_flow_run_state(run, Crashed(message=GONE), force=True)
            said = f"{deployment}: run {found.name} set to Crashed, since its process is gone"
            print(f"fedvitals: {said}", file=sys.stderr, flush=True)
