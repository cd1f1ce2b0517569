"""fedvitals as its user has it: a folder with configuration and data, and the command."""

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from flows.commands.running import NOT_RECORDED
from tasks.core.catalogue import Catalogue
from tasks.core.measurement import Measurement
from tasks.ledger.ledger import Ledger
from tests.support.process import environment
from tests.support.suite_examples import BETWEEN, an_expectation, obligations

COMMAND = Path(sys.executable).with_name("fedvitals")
# what the user who runs the tests may have set for himself
FOREIGN = ("FEDVITALS_", "FED_VIT_", "PROMETHEUS_", "INFLUXDB_", "GRAFANA_")
PLACES = re.compile(r"^fedvitals: (?:config .+, home .+|.+ is a new home .+)\n", re.MULTILINE)


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it said. `places` are the lines with which a run begins: which
    config and home it uses, and that the home is new."""

    code: int
    out: str
    err: str
    places: str = ""

    @classmethod
    def of(cls, code: int, out: str, err: str) -> "Ran":
        """Keep the lines on config and home apart from the rest of standard error."""
        return cls(
            code, out, PLACES.sub("", err), "".join(found[0] for found in PLACES.finditer(err))
        )

    @property
    def document(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)

    @property
    def warnings(self) -> str:
        """Standard error, without the line of each run that Prefect does not record."""
        return self.err.replace(f"fedvitals: {NOT_RECORDED}\n", "")

    @property
    def complaint(self) -> str:
        """The one line that a refused command says, without the program's name."""
        assert self.out == ""
        (line,) = self.warnings.splitlines()
        assert line.startswith("fedvitals: ")
        return line.removeprefix("fedvitals: ")


@dataclass
class Installation:
    """A folder with `config`, `expectations` and, once it ran, `home`; and variables for the command."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        """Where lake, ledger and reports are."""
        return self.folder / "home"

    @property
    def config(self) -> Path:
        return self.folder / "config"

    @property
    def expectations(self) -> Path:
        return self.folder / "expectations"

    def configure(self, measurements: Mapping[str, Any], **pipeline: Any) -> "Installation":
        """Writes a whole configuration; every measurement gets a suite with what is obligatory, and
        with shares of 0 to 1 for fields whose unit is ratio. A run waits a second for a service."""
        self.config.mkdir(parents=True, exist_ok=True)
        self.expectations.mkdir(exist_ok=True)
        self.write_yaml("metrics.yaml", {"measurements": dict(measurements)})
        self.write_yaml("environments.yaml", {"pipeline": {"retry_timeout": "1s", **pipeline}})
        self.write_yaml("sinks.yaml", {})
        for entry in Catalogue.read(self.config / "metrics.yaml").values():
            # of what is built in, the shipped one is in force
            if not entry.is_own:
                self.write_suite(entry.name, suite_of(entry))
        return self

    def write_yaml(self, name: str, content: Any) -> None:
        (self.config / name).write_text(yaml.safe_dump(content, sort_keys=False), "utf-8")

    @contextmanager
    def changed(self, name: str) -> Iterator[Any]:
        """A YAML file's content, written back as it is after the block."""
        content = yaml.safe_load((self.config / name).read_text("utf-8"))
        yield content
        self.write_yaml(name, content)

    def write_suite(self, name: str, content: Any) -> None:
        text = json.dumps(content, indent=2)
        (self.expectations / f"{name}.json").write_text(text, "utf-8")

    @contextmanager
    def changed_suite(self, name: str) -> Iterator[Any]:
        """A suite's content, written back as it is after the block."""
        content = json.loads((self.expectations / f"{name}.json").read_text("utf-8"))
        yield content
        self.write_suite(name, content)

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment of the command."""
        kept = {k: v for k, v in environment().items() if not k.startswith(FOREIGN)}
        places = {"FEDVITALS_HOME": str(self.home)}
        if self.config.is_dir():
            places["FEDVITALS_CONFIG"] = str(self.config)
        return {**kept, **places, **self.variables}

    def run(self, *arguments: str, timeout: float = 150) -> Ran:
        """The command as a process of its own."""
        done = subprocess.run(
            [str(COMMAND), *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Ran.of(done.returncode, done.stdout, done.stderr)

    def here(self, *arguments: str) -> Ran:
        """The command in this process, which saves it the imports."""
        from flows.cli import main

        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, self.environment, clear=True),
            mock.patch.object(sys, "argv", ["fedvitals", *arguments]),
            redirect_stdout(out),
            redirect_stderr(err),
            _prefect_at(self.variables.get("PREFECT_API_URL")),
        ):
            try:
                main()
                code = 0
            except SystemExit as end:
                code = int(end.code or 0)
        return Ran.of(code, out.getvalue(), err.getvalue())

    def kept(self, flow: str) -> dict[str, Any]:
        """The newest receipt of the flow that the ledger keeps."""
        ledger = Ledger(f"sqlite:///{self.home / 'ledger.db'}")
        (text,) = ledger.last_runs(flow, "production", "9", 1)
        ledger.close()
        receipt: dict[str, Any] = json.loads(text)
        return receipt

    def files(self, *below: str) -> list[str]:
        """The paths of all files below a folder of home, relative to home."""
        paths = self.home.joinpath(*below).rglob("*")
        return sorted(str(path.relative_to(self.home)) for path in paths if path.is_file())

    def holding(self, secret: str) -> list[str]:
        """The files of home that have this text."""
        return [name for name in self.files() if secret.encode() in (self.home / name).read_bytes()]


@contextmanager
def _prefect_at(api_url: str | None) -> Iterator[None]:
    """Prefect has read its settings when it was imported, so they are reported to it."""
    if api_url is None:
        yield
        return
    from prefect.logging.handlers import APILogHandler
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: api_url}):
        yield
        # a process would do so at its end, while the server is still there
        APILogHandler().flush()


def entry(*fields: str, tags: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    """A measurement of the catalogue whose fields' queries are their names, a value a minute."""
    specs = {name: {"query": name, "required": True} for name in fields}
    return {"type": "performance", "tags": list(tags), "step": "60s", "max_series": 5, "fields": specs, **more}  # fmt: skip


def suite_of(measurement: Measurement) -> dict[str, Any]:
    """What is obligatory, and what is possible for a ratio."""
    limits = [
        an_expectation(f"{name}_possible", BETWEEN, column=name, min_value=0, max_value=1)
        for name, spec in measurement.fields.items()
        if spec.unit == "ratio"
    ]
    return {"name": measurement.suite_name, "expectations": [*obligations(measurement), *limits]}
