"""A distinct token in every secret setting that the code reads, and where tokens must not be."""

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tasks.core.settings import load_settings
from tasks.core.variables import VARIABLES
from tasks.servers.intake import Tokens

# a URL with its token, as each takes it
URLS: Mapping[str, Callable[[str, str], str]] = {
    "SLACK_WEBHOOK_URL": lambda url, token: f"{url}/hook/{token}",
    "APPRISE_URLS": lambda url, token: f"json{url.removeprefix('http')}/{token}",
    "FEDVITALS_HEARTBEAT_URL": lambda url, token: f"{url}/{token}",
    "FEDVITALS_ALERT_HEARTBEAT_URL": lambda url, token: f"{url}/{token}",
}
# has a test of its own: nothing runs without a ledger
ELSEWHERE = "FEDVITALS_LEDGER_URL"
# of services that have no URL, or of whose URL no secret is
NEEDED = {
    "SLACK_CHANNEL": "#alerts",
    "GITHUB_REPOSITORY": "fl/service",
    "EMAIL_SMTP_HOST": "localhost",
    "EMAIL_SMTP_FROM": "fedvitals@example.com",
    "EMAIL_SMTP_TO": "ops@example.com",
    "INFLUXDB_ORG": "fl",
}
BASES = (
    "SLACK_API_URL", "PAGERDUTY_EVENTS_URL", "PAGERDUTY_API_URL", "GITHUB_API_URL",
    "FEDVITALS_INTAKE_URL", "LOGS_URL",
)  # fmt: skip


class Asked(dict[str, str]):
    """Variables that note which secrets are asked for: each may come from a file."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        super().__init__(variables)
        self.secrets: set[str] = set()

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        if name.endswith("_FILE"):
            self.secrets.add(name.removesuffix("_FILE"))
        return super().get(name, default)


def planted_at(url: str, home: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return variables with every service at a path of this URL, and the token of each secret."""
    variables = {"FEDVITALS_HOME": str(home), **NEEDED}
    named = [name for name in VARIABLES.values() if name.endswith("_URL") and "GCP" not in name]
    variables |= {name: url + owner(name) for name in (*named, *BASES)}
    tokens: dict[str, str] = {}
    while True:
        asked = Asked(variables)
        load_settings(asked)
        Tokens(asked)
        new = sorted(asked.secrets - tokens.keys() - {ELSEWHERE, ""})
        if not new:
            return variables, tokens
        for name in new:
            tokens[name] = f"planted-{hashlib.sha256(name.encode()).hexdigest()[:24]}"
            shape = URLS.get(name, lambda _, token: token)
            variables[name] = shape(url + owner(name), tokens[name])


def owner(name: str) -> str:
    """Return the path below which the service of a variable is."""
    return f"/{name.partition('_')[0].lower()}"


@dataclass
class Echo:
    """Refuses all requests with this status, and repeats them whole; `heard` are path and request."""

    server: HTTPServer
    status: int
    heard: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server.expect_request(re.compile(".*")).respond_with_handler(self._answer)

    def _answer(self, request: Request) -> Response:
        head = f"{request.method} {request.url}\n{request.headers}"
        text = f"{head}\n{request.get_data(as_text=True)}"
        self.heard.append((request.path, text))
        return Response(text.replace("\r\n", " ")[:4000], self.status, content_type="text/plain")


def found_in(texts: Iterable[tuple[str, bytes]], tokens: Mapping[str, str]) -> set[tuple[str, str]]:
    """Return where which token is, as it is or in Base64."""
    wanted = {name: _forms(token) for name, token in tokens.items()}
    return {
        (place, name)
        for place, text in texts
        for name, forms in wanted.items()
        if any(form in text for form in forms)
    }


def _forms(token: str) -> list[bytes]:
    raw = token.encode()
    # the part that is the same whatever stands before and behind it
    coded = [base64.b64encode(b"x" * n + raw)[first:-4] for n, first in enumerate((0, 2, 3))]
    return [raw, *coded]


def files_below(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield each file with what it holds, unpacked where it is packed."""
    for path in folder.rglob("*"):
        if path.is_file():
            text = path.read_bytes()
            if path.suffix == ".parquet":
                text += str(pq.read_table(path).to_pylist()).encode()
            yield str(path.relative_to(folder)), text
