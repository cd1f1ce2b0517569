"""The real servers that tests drive. Each binds to 127.0.0.1 and keeps its data in a folder."""

import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, get_args

import requests
import yaml
from influxdb_client.client.influxdb_client import InfluxDBClient

from tests.support.history import PROMETHEUS, create_blocks
from tests.support.process import (
    Process,
    answers,
    environment,
    free_port,
    identity,
    missing,
    program,
)

TIMEOUT = 30
# what `make servers` builds
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fedvitals" / "bin"
# Debian has 2.42; many users run 3
PrometheusVersion = Literal["2", "3"]
VERSIONS: tuple[PrometheusVersion, ...] = get_args(PrometheusVersion)


class HttpServer(Process):
    """A server with an HTTP address."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        home: Path,
        port: int,
        ready: str,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """`ready` is the path that answers 200 once the server is up."""
        self.home = home
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        check = answers(self.url + ready)
        super().__init__(name, command, home / "server.log", check, env=env)


class InfluxServer(HttpServer):
    """An influxd of our own, set up with an organisation and an all-access token."""

    def __init__(self, home: Path) -> None:
        influxd = program("influxd", "make influxd", CACHE)
        port = free_port()
        command = [
            influxd,
            f"--bolt-path={home / 'influxd.bolt'}",
            f"--sqlite-path={home / 'influxd.sqlite'}",
            f"--engine-path={home / 'engine'}",
            f"--http-bind-address=127.0.0.1:{port}",
            "--reporting-disabled",
            # its allocation profile costs a sixth of a write, and a public server has it off
            "--pprof-disabled",
            "--ui-disabled",
        ]
        super().__init__("influxd", command, home, port, "/health")
        self.org = "fedvitals"
        self.token = secrets.token_urlsafe(32)
        self._is_set_up = False

    def start(self) -> Self:
        """Start; the first time, make the organisation and the token too."""
        super().start()
        if not self._is_set_up:
            body = {"username": "tests", "password": secrets.token_urlsafe(16)}
            body |= {"org": self.org, "bucket": "setup", "token": self.token}
            answer = requests.post(f"{self.url}/api/v2/setup", json=body, timeout=TIMEOUT)
            answer.raise_for_status()
            self._is_set_up = True
        return self

    def client(self) -> InfluxDBClient:
        """A client of the vendor's library; close it (it is a context manager)."""
        return InfluxDBClient(url=self.url, token=self.token, org=self.org, timeout=60_000)

    def make_bucket(self, retention_seconds: int = 0) -> str:
        """The name of a fresh bucket; 0 keeps points for ever, 3600 is the server's least."""
        name = f"test-{secrets.token_hex(6)}"
        rules = [{"type": "expire", "everySeconds": retention_seconds}] if retention_seconds else []
        with self.client() as client:
            client.buckets_api().create_bucket(bucket_name=name, retention_rules=rules)
        return name

    def delete_bucket(self, name: str) -> None:
        """Drop a bucket with all that is in it."""
        with self.client() as client:
            api = client.buckets_api()
            api.delete_bucket(api.find_bucket_by_name(name))

    def write(self, bucket: str, lines: bytes, precision: str = "ns") -> None:
        """Write line protocol as it is; raises when the server does not take every line."""
        answer = requests.post(
            f"{self.url}/api/v2/write",
            params={"org": self.org, "bucket": bucket, "precision": precision},
            headers={"Authorization": f"Token {self.token}"},
            data=lines,
            timeout=60,
        )
        if answer.status_code != 204:
            raise RuntimeError(f"influxd answered {answer.status_code}: {answer.text}")

    def flux(self, query: str) -> list[dict[str, Any]]:
        """The rows that a Flux query returns, tables one after the other."""
        with self.client() as client:
            tables = client.query_api().query(query)
            return [dict(record.values) for table in tables for record in table.records]

    def count_values(self, bucket: str, measurement: str) -> int:
        """How many non-null values (cells, not rows) a measurement holds at any time."""
        rows = self.flux(f"""
            from(bucket: {quoted(bucket)})
              |> range(start: 1970-01-01T00:00:00Z, stop: 2200-01-01T00:00:00Z)
              |> filter(fn: (r) => r._measurement == {quoted(measurement)})
              |> count()
              |> group()
              |> sum()
        """)
        return int(rows[0]["_value"]) if rows else 0


def quoted(text: str) -> str:
    """A Flux string literal."""
    escaped = text.replace("\\", r"\\").replace('"', r"\"").replace("${", r"\${")
    return f'"{escaped}"'


class PrometheusServer(HttpServer):
    """A Prometheus with any history, targets and rules; `config_path` and `rules_path` are its."""

    def __init__(
        self,
        home: Path,
        history: str | Path | None = None,
        *,
        scrape: Mapping[str, Sequence[str]] | None = None,
        rules: str | None = None,
        alertmanagers: Sequence[str] = (),
        config: Mapping[str, Any] | None = None,
        interval: str = "1s",
        lifecycle: bool = False,
        otlp: bool = False,
        version: PrometheusVersion = "2",
        retention: str = "10y",
    ) -> None:
        """`history` is OpenMetrics text or a file of it; `scrape` maps a job to host:port targets.

        `alertmanagers` are host:port as well. What `config` holds replaces whole top-level
        sections of the configuration, for whatever has no parameter here.
        """
        binary = (
            program("prometheus", PROMETHEUS)
            if version == "2"
            else program("prometheus3", "make servers", CACHE)
        )
        # Prometheus reads a relative rule file from the folder of its configuration.
        home = home.resolve()
        self.config_path = home / "prometheus.yml"
        self.rules_path = home / "rules.yml"
        self.rules_path.write_text(rules or "groups: []\n")
        whole = self._config(scrape or {}, alertmanagers, interval) | dict(config or {})
        self.config_path.write_text(yaml.safe_dump(whole))
        if history is not None:
            create_blocks(history, home / "data")
        port = free_port()
        command = [
            binary,
            f"--config.file={self.config_path}",
            f"--storage.tsdb.path={home / 'data'}",
            f"--storage.tsdb.retention.time={retention}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
            # An alert that fires before the Alertmanagers are discovered (5 s) waits a minute else.
            "--rules.alert.resend-delay=1s",
            *(["--web.enable-lifecycle"] if lifecycle else []),
            *(["--web.enable-otlp-receiver"] if otlp else []),
        ]
        super().__init__("prometheus", command, home, port, "/-/ready")

    def _config(
        self, scrape: Mapping[str, Sequence[str]], alertmanagers: Sequence[str], interval: str
    ) -> dict[str, Any]:
        managers = [{"static_configs": [{"targets": list(alertmanagers)}]}] if alertmanagers else []
        jobs = [
            {"job_name": job, "static_configs": [{"targets": list(targets)}]}
            for job, targets in scrape.items()
        ]
        return {
            "global": {"scrape_interval": interval, "evaluation_interval": interval},
            "rule_files": [str(self.rules_path)],
            "scrape_configs": jobs,
            "alerting": {"alertmanagers": managers},
        }

    def query(self, promql: str, at: float | None = None) -> list[dict[str, Any]]:
        """The `data.result` of an instant query."""
        asked = {"query": promql} | ({} if at is None else {"time": str(at)})
        answer = requests.get(f"{self.url}/api/v1/query", params=asked, timeout=TIMEOUT)
        answer.raise_for_status()
        result: list[dict[str, Any]] = answer.json()["data"]["result"]
        return result


class VictoriaServer(HttpServer):
    """A single-node VictoriaMetrics."""

    def __init__(self, home: Path) -> None:
        port = free_port()
        command = [
            program("victoria-metrics", "make servers", CACHE),
            f"-storageDataPath={home / 'data'}",
            f"-httpListenAddr=127.0.0.1:{port}",
            "-retentionPeriod=10y",
        ]
        super().__init__("victoria-metrics", command, home, port, "/health")

    def stored(self, selector: str) -> dict[str, list[tuple[float, float]]]:
        """Each sample as (seconds, value), as often as it is kept, by the series as JSON."""
        requests.get(f"{self.url}/internal/force_flush", timeout=TIMEOUT).raise_for_status()
        asked = {"match[]": selector}
        answer = requests.post(f"{self.url}/api/v1/export", data=asked, timeout=TIMEOUT)
        answer.raise_for_status()
        lines = map(json.loads, answer.text.splitlines())
        return {
            json.dumps(line["metric"], sort_keys=True): [
                (at / 1000, value)
                for at, value in zip(line["timestamps"], line["values"], strict=True)
            ]
            for line in lines
        }

    def count_values(self, selector: str) -> int:
        """How many samples the series have, each as often as it is kept."""
        return sum(map(len, self.stored(selector).values()))

    def delete_series(self, selector: str) -> None:
        """Delete whole series, which is all that it can."""
        path = "/api/v1/admin/tsdb/delete_series"
        asked = {"match[]": selector}
        requests.post(self.url + path, data=asked, timeout=TIMEOUT).raise_for_status()


class AlertmanagerServer(HttpServer):
    """An Alertmanager that hands every alert to one webhook, or to nobody."""

    def __init__(self, home: Path, webhook: str | None = None, token: str | None = None) -> None:
        """`token` is sent to the webhook as a bearer token."""
        how = "apt install prometheus-alertmanager"
        binary = shutil.which("alertmanager") or program("prometheus-alertmanager", how)
        receiver: dict[str, Any] = {"name": "hook"}
        if webhook is not None:
            hook: dict[str, Any] = {"url": webhook, "send_resolved": True}
            if token is not None:
                hook["http_config"] = {"authorization": {"credentials": token}}
            receiver["webhook_configs"] = [hook]
        route = {"receiver": "hook", "group_by": ["alertname"], "repeat_interval": "1h"}
        route |= {"group_wait": "0s", "group_interval": "1s"}
        self.config_path = home / "alertmanager.yml"
        self.config_path.write_text(yaml.safe_dump({"route": route, "receivers": [receiver]}))
        port = free_port()
        command = [
            binary,
            f"--config.file={self.config_path}",
            f"--storage.path={home / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
        ]
        super().__init__("alertmanager", command, home, port, "/-/ready")

    @property
    def target(self) -> str:
        """host:port, for a Prometheus that sends alerts here."""
        return f"127.0.0.1:{self.port}"

    def send(self, *alerts: Mapping[str, Any]) -> None:
        """Post alerts (`labels`, `annotations`, `startsAt`, `endsAt`) as a Prometheus would."""
        answer = requests.post(f"{self.url}/api/v2/alerts", json=list(alerts), timeout=TIMEOUT)
        answer.raise_for_status()


class NodeExporter(HttpServer):
    """A node exporter; `target` is what a Prometheus scrapes."""

    def __init__(self, home: Path) -> None:
        how = "apt install prometheus-node-exporter"
        binary = shutil.which("node_exporter") or program("prometheus-node-exporter", how)
        port = free_port()
        command = [binary, f"--web.listen-address=127.0.0.1:{port}"]
        super().__init__("node_exporter", command, home, port, "/metrics")
        self.target = f"127.0.0.1:{port}"


class PrefectServer(HttpServer):
    """`prefect server start` with a PREFECT_HOME of its own."""

    # On a cold disk the first migration alone takes more than a minute.
    deadline = 120.0

    def __init__(self, home: Path, settings: Mapping[str, str] | None = None) -> None:
        """`settings` are variables of the server itself."""
        port = free_port()
        command = [sys.executable, "-m", "prefect", "server", "start"]
        command += ["--host", "127.0.0.1", "--port", str(port)]
        # its UI asks port 4200 otherwise, whatever port the server has
        ui = {"PREFECT_SERVER_UI_API_URL": f"http://127.0.0.1:{port}/api"}
        env = {"PREFECT_HOME": str(home), **ui, **(settings or {})}
        super().__init__("prefect server", command, home, port, "/api/health", env)
        self.api_url = f"{self.url}/api"

    def client_env(self) -> dict[str, str]:
        """The environment of a child process whose flows run against this server."""
        return environment({"PREFECT_HOME": str(self.home), "PREFECT_API_URL": self.api_url})


class PostgresServer(Process):
    """A PostgreSQL cluster in `home`, which the unprivileged user must be able to reach."""

    # SIGTERM would wait for clients to go.
    stop_signal = signal.SIGINT
    role = "fedvitals"

    def __init__(self, home: Path) -> None:
        self.bin = _postgres_folder()
        self.home = home
        self.port = free_port()
        self.password = secrets.token_urlsafe(16)
        self.data = home / "data"
        user = unprivileged()
        if user is not None:
            shutil.chown(home, user)
        command = [f"{self.bin}/postgres", "-D", str(self.data), "-p", str(self.port)]
        # Nothing here has to survive a power cut, so no fsync.
        command += ["-F", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        super().__init__("postgresql", command, home / "server.log", self._is_ready, user=user)

    def start(self) -> Self:
        """Start; the first time, make the cluster."""
        if not self.data.exists():
            self._make_cluster()
        return super().start()

    def _make_cluster(self) -> None:
        secret = self.home / "password"
        secret.write_text(self.password)
        if self.user is not None:
            shutil.chown(secret, self.user)
        command = [
            f"{self.bin}/initdb",
            "-D",
            str(self.data),
            "-U",
            self.role,
            f"--pwfile={secret}",
        ]
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]
        subprocess.run(command, check=True, capture_output=True, **identity(self.user))
        secret.unlink()

    def _is_ready(self) -> bool:
        command = [f"{self.bin}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, check=False).returncode == 0

    def url(self, database: str = "postgres") -> str:
        """The SQLAlchemy URL of a database."""
        server = f"{self.role}:{self.password}@127.0.0.1:{self.port}"
        return f"postgresql+psycopg://{server}/{database}"

    def make_database(self) -> str:
        """The SQLAlchemy URL of a fresh, empty database."""
        name = f"test_{secrets.token_hex(6)}"
        command = [f"{self.bin}/createdb", "-h", "127.0.0.1", "-p", str(self.port)]
        env = environment({"PGPASSWORD": self.password})
        subprocess.run([*command, "-U", self.role, name], check=True, env=env)
        return self.url(name)


def _postgres_folder() -> Path:
    # Debian keeps them off the PATH, a folder a version.
    folders = Path("/usr/lib/postgresql").glob("*/bin")
    newest_first = sorted(folders, key=lambda folder: float(folder.parent.name), reverse=True)
    initdb = program("initdb", "apt install postgresql", *newest_first)
    # On the PATH it may be a link, and its fellows are where it points.
    return Path(initdb).resolve().parent


def unprivileged() -> str | None:
    """Who runs PostgreSQL: nobody else than us, but never root, which it refuses."""
    if os.geteuid() != 0:
        return None
    return "postgres" if "postgres" in {entry.pw_name for entry in pwd.getpwall()} else "nobody"


def find_chromium() -> Path:
    """The browser; root has to pass it --no-sandbox."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return Path(found)
    missing("chromium", "apt install chromium")
