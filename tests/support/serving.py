"""`fedvitals serve` as a process, and waiting for what comes of it."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.installation import COMMAND, Installation


@contextmanager
def serving(installation: Installation) -> Iterator["subprocess.Popen[bytes]"]:
    """`fedvitals serve` as a process."""
    with (installation.folder / "serve.log").open("ab") as log:
        process = subprocess.Popen(
            [str(COMMAND), "serve"],
            cwd=installation.folder,
            env=installation.environment,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def eventually(check: Callable[[], Any], seconds: float = 60) -> Any:
    """What the check returns as soon as it is true."""
    end = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.3)
    return found
