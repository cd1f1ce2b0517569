"""The issues of one GitHub repository, by the rules of its REST API."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tasks.core.alert_services import GitHubService
from tasks.core.services import Service

TOKEN, REPOSITORY, PEOPLE = "ghp_t0ken", "fl/service", ("ann", "bob")
PATH = f"/repos/{REPOSITORY}/issues"
PAGE = 100
Fault = Callable[[Request], Response | None]


@dataclass
class FakeGitHub:
    """`issues` is the ledger of effects, by number; `faults` answer first, one request each."""

    server: HTTPServer
    issues: dict[int, dict[str, Any]] = field(default_factory=dict)
    comments: dict[int, list[str]] = field(default_factory=dict)
    events: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    after_create: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.url = self.server.url_for("").rstrip("/")
        pattern = re.compile(rf"{re.escape(PATH)}(/\d+(/comments|/events)?)?$")
        self.server.expect_request(pattern).respond_with_handler(self._answer)

    def service(self, token: str = TOKEN, assignees: tuple[str, ...] = ()) -> GitHubService:
        api = Service(
            url=self.url,
            token=SecretStr(token),
            origin="GITHUB_API_URL",
            token_from="GITHUB_TOKEN",
        )
        return GitHubService(api, REPOSITORY, assignees)

    @property
    def variables(self) -> dict[str, str]:
        return {
            "GITHUB_TOKEN": TOKEN,
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_API_URL": self.url,
        }

    def open_numbers(self) -> list[int]:
        return [number for number, one in self.issues.items() if one["state"] == "open"]

    def label(self, number: int, name: str, by: str, at: str) -> None:
        """What a person does who puts a label on an issue."""
        self.issues[number]["labels"].append({"name": name})
        self.events.setdefault(number, []).append(
            {"event": "labeled", "label": {"name": name}, "actor": {"login": by}, "created_at": at}
        )

    def names(self, number: int) -> set[str]:
        return {label["name"] for label in self.issues[number]["labels"]}

    def add(self, body: dict[str, Any]) -> int:
        number = len(self.issues) + 1
        labels = [{"name": name} for name in body.get("labels", [])]
        assignees = [{"login": name} for name in body.get("assignees", [])]
        self.issues[number] = {
            **body, "number": number, "state": "open", "labels": labels, "assignees": assignees,
            "created_at": f"{datetime.now(UTC):%FT%TZ}",
        }  # fmt: skip
        return number

    def _answer(self, request: Request) -> Response:
        if self.faults and (answer := self.faults.pop(0)(request)):
            return answer
        if not request.headers.get("User-Agent"):
            return said(403, {"message": "Request forbidden by administrative rules"})
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return said(401, {"message": "Bad credentials"})
        rest = request.path.removeprefix(PATH).strip("/")
        body = json.loads(request.get_data() or b"{}")
        if not rest:
            return self._create(body) if request.method == "POST" else self._list(request)
        number, _, part = rest.partition("/")
        if int(number) not in self.issues:
            return said(404, {"message": "Not Found"})
        issue = self.issues[int(number)]
        if part == "events":
            return said(200, self.events.get(int(number), []))
        if part == "comments":
            return self._comment(int(number), body)
        if request.method == "PATCH":
            if "labels" in body:
                body["labels"] = [{"name": name} for name in body["labels"]]
            issue.update(body)
        return said(200, issue)

    def _comment(self, number: int, body: dict[str, Any]) -> Response:
        if not body.get("body"):
            return said(422, {"message": "Validation Failed"})
        self.comments.setdefault(number, []).append(body["body"])
        return said(201, {"id": 1})

    def _create(self, body: dict[str, Any]) -> Response:
        unknown = set(body.get("assignees", ())) - set(PEOPLE)
        if not body.get("title") or unknown or len(body.get("body", "")) > 65_536:
            return said(422, {"message": "Validation Failed"})
        number = self.add(body)
        self.after_create()
        return said(201, self.issues[number])

    def _list(self, request: Request) -> Response:
        wanted = set(request.args.get("labels", "").split(",")) - {""}
        state, page = request.args.get("state", "open"), int(request.args.get("page", 1))
        found = [
            one
            for one in reversed(self.issues.values())
            if wanted <= {label["name"] for label in one["labels"]}
            and state in ("all", one["state"])
        ]
        answer = said(200, found[(page - 1) * PAGE : page * PAGE])
        if page * PAGE < len(found):
            answer.headers["Link"] = f'<{self.url}{PATH}?page={page + 1}>; rel="next"'
        return answer


def said(status: int, content: Any) -> Response:
    return Response(json.dumps(content), status, content_type="application/json")
