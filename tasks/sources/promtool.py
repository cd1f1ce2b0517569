"""promtool, Prometheus's own checker: a program of its own, on PATH or named by PROMTOOL."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tasks.core.errors import ConfigurationInvalid

VARIABLE = "PROMTOOL"
# unit tests of a week take a minute or two
SECONDS = 600
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

    def require_version(self, server: str) -> None:
        """Raise ConfigurationInvalid unless it is of the server's minor version."""
        _, text = self._run(["--version"])
        found = _VERSION.search(text)
        if found is None or not server.startswith(f"{found[1]}."):
            raise ConfigurationInvalid(
                where=VARIABLE,
                problem=f"{self._program} is of version {found[1] if found else 'unknown'}, "
                f"the Prometheus of {server}",
                fix=f"Set {VARIABLE} to the promtool of that Prometheus",
            )

    def check(self, rules: Path) -> str:
        """Return what it refuses of a file of rules; empty when it is good."""
        return self._failure(["check", "rules", str(rules)])

    def test(self, tests: Iterable[Path]) -> str:
        """Return which unit tests fail; empty when all pass."""
        return self._failure(["test", "rules", *map(str, tests)])

    def _failure(self, arguments: list[str]) -> str:
        code, text = self._run(arguments)
        return text.strip() if code else ""

    def _run(self, arguments: list[str]) -> tuple[int, str]:
        command = [self._program, *arguments]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            problem = f"promtool {arguments[0]} {arguments[1]} did not end within {SECONDS} s"
            fix = "Run it by hand on the files that `fedvitals rules build` writes"
            raise ConfigurationInvalid(where=self._program, problem=problem, fix=fix) from error
        except OSError as error:
            problem = f"it cannot be run: {error}"
            raise ConfigurationInvalid(where=self._program, problem=problem, fix=HOW) from error
        return done.returncode, f"{done.stdout}\n{done.stderr}"
