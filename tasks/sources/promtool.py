"""promtool, Prometheus's own checker: a program of its own, on PATH or named by PROMTOOL."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tasks.core.errors import ConfigurationInvalid

VARIABLE = "PROMTOOL"
SECONDS = 120
_VERSION = re.compile(r"version (\d+\.\d+)")
HOW = f"It comes with Prometheus (apt install prometheus): put it on PATH, or set {VARIABLE} to it"


class Promtool:
    """Checks rules, and runs their unit tests."""

    def __init__(self) -> None:
        """Find it; raise ConfigurationInvalid with how to get it."""
        named = os.environ.get(VARIABLE) or "promtool"
        found = shutil.which(named)
        if found is None:
            problem = f"{named} is not found" if named != "promtool" else "promtool is not on PATH"
            raise ConfigurationInvalid(where=VARIABLE, problem=problem, fix=HOW)
        self._program = found

    def version(self) -> str:
        """Return its version, such as 2.42."""
        _, text = self._run("--version")
        found = _VERSION.search(text)
        if found is None:
            raise ConfigurationInvalid(
                where=self._program, problem="it says no version, so it is no promtool", fix=HOW
            )
        return found[1]

    def require_version(self, server: str) -> None:
        """Raise ConfigurationInvalid unless it is of the server's minor version."""
        version = self.version()
        if not server.startswith(f"{version}."):
            raise ConfigurationInvalid(
                where=VARIABLE,
                problem=f"{self._program} is of version {version}, the Prometheus of {server}",
                fix=f"Set {VARIABLE} to the promtool of that Prometheus",
            )

    def check(self, rules: Path) -> str:
        """Return what it refuses of a file of rules; empty when it is good."""
        return self._failure("check", "rules", rules.name, folder=rules.parent)

    def test(self, tests: Iterable[Path]) -> str:
        """Return which unit tests fail; empty when all pass."""
        return self._failure("test", "rules", *(str(path.resolve()) for path in tests))

    def _failure(self, *arguments: str, folder: Path | None = None) -> str:
        code, text = self._run(*arguments, folder=folder)
        return text.strip() if code else ""

    def _run(self, *arguments: str, folder: Path | None = None) -> tuple[int, str]:
        try:
            done = subprocess.run(
                [self._program, *arguments],
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=SECONDS,
                cwd=folder,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConfigurationInvalid(
                where=self._program, problem=f"it cannot be run: {error}", fix=HOW
            ) from error
        return done.returncode, f"{done.stdout}\n{done.stderr}"
