"""GitHub: an issue an incident, found again by its label and a mark in its text."""

import html
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote

from tasks.channels.http import HttpChannel, is_link
from tasks.core.alert_services import GitHubService
from tasks.core.checks import ServiceCheck
from tasks.core.errors import FedvitalsError
from tasks.core.incidents import Acknowledgement, AlertMessage, ShownIncident
from tasks.core.ports import AlertChannel
from tasks.core.severity import NAMES, Severity
from tasks.core.window import iso
from tasks.http import Answer

NAME = "GitHub"
LABELS = ("alert", "monitoring")
ACKNOWLEDGED = "acknowledged"
STEPS = (
    "Acknowledge alert",
    "Investigate issue",
    "Implement fix",
    "Verify resolution",
    "Update documentation",
)
_CREATED = (HTTPStatus.CREATED,)
# a secondary limit without a time of its own
_SECONDARY_WAIT = 60.0
# what Markdown, a mention or a reference would make of a text from outside
_MARKS = re.compile(r"[\\`*_{}\[\]()#+!|~$-]")
# GitHub finds these in what is shown, where no escape helps but a character without width
_MENTIONS = re.compile(r"(@|#|\bGH-)(?=\w)", re.IGNORECASE)
_MOST_PAGES = 20
_MARK = re.compile(
    r"<!-- fedvitals:(?P<fingerprint>[0-9a-f]{16}):(?P<id>[0-9a-f]{16}):(?P<environment>[^\s:]+) -->\Z"
)
# of the 65,536 that a text may have
LONGEST = 60_000


class GitHubChannel(HttpChannel, AlertChannel):
    """The issues of one repository."""

    def __init__(self, service: GitHubService, _: timedelta) -> None:
        """Sends are tried again by the outbox, not here."""
        fix = "Check GITHUB_REPOSITORY, and give GITHUB_TOKEN the right to write issues"
        super().__init__(service.api, NAME, fix)
        self._issues = f"/repos/{service.repository}/issues"
        self._assignees = list(service.assignees)
        headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
        self.session.headers.update(headers)

    def send(self, message: AlertMessage, reference: str) -> str:
        """Open, comment on or close the issue; the reference is its number."""
        if message.action == "summary":
            return reference
        issue = self._issue(reference) if reference else None
        if issue is None:
            return self._open(message) if message.action != "resolve" else reference
        is_open = issue["state"] == "open"
        if message.action != "resolve":
            self._continue(reference, message, issue, is_open)
        elif is_open:
            self._comment(reference, f"Resolved: {plain(message.history)}")
            self._change(reference, {"state": "closed", "state_reason": "completed"})
        return reference

    def _issue(self, number: str) -> Any:
        """Return an issue; None when it was deleted."""
        good = (HTTPStatus.OK, HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
        answer = self.ask("GET", f"{self._issues}/{number}", good)
        return self.document(answer) if answer.status == HTTPStatus.OK else None

    def _continue(self, number: str, message: AlertMessage, issue: Any, is_open: bool) -> None:
        """Comment on an issue; one that returns is opened again, and is not acknowledged any more."""
        names = {label["name"] for label in issue.get("labels", ())}
        ours = self._labels(message)
        kept = {name for name in names if not name.startswith("severity-")} | {*ours}
        kept -= set() if is_open else {ACKNOWLEDGED}
        if not is_open or kept != names:
            self._change(number, {"state": "open", "labels": sorted(kept)})
        self._comment(number, plain(message.history) or "updated")

    def acknowledged(self, references: Mapping[str, str]) -> Mapping[str, Acknowledgement]:
        """Return those whose issue has the label `acknowledged`, by whoever put it there."""
        labelled = {str(one["number"]) for one in self._list((*LABELS, ACKNOWLEDGED))}
        return {
            incident_id: self._acknowledgement(number)
            for incident_id, number in references.items()
            if number in labelled
        }

    def _acknowledgement(self, number: str) -> Acknowledgement:
        who, at = NAME, datetime.now(UTC)
        for event in self._pages(f"{self._issues}/{number}/events", {}):
            if (event.get("label") or {}).get("name") == ACKNOWLEDGED:
                who = (event.get("actor") or {}).get("login") or NAME
                at = datetime.fromisoformat(event["created_at"])
        return Acknowledgement(who, at, at, f"label on issue {number}")

    def shown(self) -> Iterator[ShownIncident]:
        """Yield the open issues that have the mark of an incident."""
        for one in self._list(LABELS):
            found = _MARK.search(one.get("body") or "")
            labels = {label["name"] for label in one.get("labels", ())}
            if found:
                _, _, name = one["title"].partition(": ")
                yield ShownIncident(
                    id=found["id"],
                    fingerprint=found["fingerprint"],
                    environment=unquote(found["environment"]),
                    name=name or one["title"],
                    severity=_severity(labels),
                    opened_at=datetime.fromisoformat(one["created_at"]),
                    reference=str(one["number"]),
                )

    def check(self) -> ServiceCheck:
        """Check that the issues can be read; whether they may be written shows when they are."""

        def attempt() -> str:
            self.ask("GET", self._issues, params={"per_page": "1"})
            return "issues can be read"

        return self.tried(attempt)

    def failure(self, answer: Answer) -> FedvitalsError:
        """Return the error of an answer: a 403 may be a limit, which says when it ends."""
        words = answer.body.decode("utf-8", "replace")
        if answer.status in (HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS):
            wait = answer.retry_after
            if wait is None and answer.headers.get("x-ratelimit-remaining") == "0":
                reset = answer.headers.get("x-ratelimit-reset", "")
                wait = max(1.0, float(reset) - time.time()) if reset.isdecimal() else None
            if wait is None and "secondary" in words.lower():
                wait = _SECONDARY_WAIT
            if wait is not None:
                problem = f"HTTP {answer.status}: a limit of requests"
                return self.unavailable(problem, wait, is_answered=True)
        return super().failure(answer)

    def _open(self, message: AlertMessage) -> str:
        """Return the number of the incident's issue; of several one is kept.

        An earlier answer may have got lost, and another process may open one at the same time.
        """
        numbers = self._marked(message) or {self._make(message), *self._marked(message)}
        first, *others = sorted(numbers)
        for number in others:
            self._comment(str(number), f"A duplicate of #{first}.")
            self._change(str(number), {"state": "closed", "state_reason": "not_planned"})
        return str(first)

    def _make(self, message: AlertMessage) -> int:
        body: dict[str, Any] = {
            "title": f"🚨 {str(message.severity).upper()}: {message.name}"[:250],
            "body": body_of(message),
            "labels": self._labels(message),
            "assignees": self._assignees,
        }
        made = self._create(body)
        if made is None:
            meant = ", ".join(self._assignees)
            body["body"] += f"\nNot assigned, since GitHub refused it: {plain(meant)}\n"
            made = self._create({**body, "assignees": []})
        assert made is not None
        return made

    def _create(self, body: Mapping[str, Any]) -> int | None:
        """Return the number of a new issue; None when its assignees are refused."""
        good = (
            (HTTPStatus.CREATED, HTTPStatus.UNPROCESSABLE_ENTITY) if body["assignees"] else _CREATED
        )
        answer = self.ask("POST", self._issues, good, json=body)
        if answer.status != HTTPStatus.CREATED:
            return None
        return int(self.document(answer)["number"])

    def _marked(self, message: AlertMessage) -> set[int]:
        """Return the numbers of the incident's open issues."""
        mark, issues = mark_of(message), self._list(LABELS)
        return {int(one["number"]) for one in issues if mark in (one.get("body") or "")}

    def _list(self, labels: Sequence[str]) -> Iterator[Any]:
        """Yield the open issues with all the labels; a search would lag behind."""
        query = {"labels": ",".join(labels), "state": "open"}
        return (one for one in self._pages(self._issues, query) if "pull_request" not in one)

    def _pages(self, path: str, query: Mapping[str, str]) -> Iterator[Any]:
        for page in range(1, _MOST_PAGES + 1):
            answer = self.ask("GET", path, params={**query, "per_page": "100", "page": str(page)})
            yield from self.document(answer)
            if 'rel="next"' not in answer.headers.get("Link", ""):
                break

    def _labels(self, message: AlertMessage) -> list[str]:
        return [*LABELS, NAMES[message.severity].github_label]

    def _comment(self, number: str, text: str) -> None:
        self.ask("POST", f"{self._issues}/{number}/comments", _CREATED, json={"body": text})

    def _change(self, number: str, change: Mapping[str, Any]) -> None:
        self.ask("PATCH", f"{self._issues}/{number}", json=change)


def mark_of(message: AlertMessage) -> str:
    """Return the mark by which an incident's issue is found."""
    environment = quote(message.environment, safe="")
    return f"<!-- fedvitals:{message.fingerprint}:{message.incident_id}:{environment} -->"


def _severity(labels: Collection[str]) -> Severity:
    known = (one for one, names in NAMES.items() if names.github_label in labels)
    return next(known, Severity.HIGH)


def body_of(message: AlertMessage) -> str:
    """Return the text of an issue; what comes from outside is text, and mentions nobody."""
    facts = "\n".join(f"**{plain(label)}**: {plain(value)}" for label, value in message.facts)
    failed = "".join(f"\n- {plain(name)}" for name in message.failed)
    links = "\n".join(
        f"- [{plain(title)}]({url})" if is_link(url) else f"- {plain(title)}: {plain(url)}"
        for title, url in message.links
    )
    text = "\n".join(
        (
            "## Alert Details",
            "",
            f"**Alert Name**: {plain(message.name)}",
            f"**Description**: {plain(message.sentence)}{failed}",
            f"**Triggered**: {iso(message.opened_at)}",
            facts,
            "",
            "## Response Actions",
            "",
            *(f"- [ ] {step}" for step in STEPS),
            "",
            "## Monitoring Links",
            "",
            links or "none",
        )
    )
    return f"{text[:LONGEST]}\n\n{mark_of(message)}"


def plain(text: str) -> str:
    """Return Markdown that shows the text as it is."""
    apart = _MENTIONS.sub("\\1\u200b", text)
    return _MARKS.sub(lambda found: f"&#{ord(found[0])};", html.escape(apart, quote=False))
