"""GitHub: an issue an incident, found again by its label and a mark in its text."""

import html
import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

from tasks.channels.http import HttpChannel, is_link
from tasks.core.alert_services import GitHubService
from tasks.core.checks import ServiceCheck
from tasks.core.errors import FedvitalsError
from tasks.core.incidents import Acknowledgement, AlertMessage
from tasks.core.severity import NAMES
from tasks.core.window import iso
from tasks.http import Answer

NAME = "GitHub"
LABELS = ("alert", "monitoring")
ACKNOWLEDGED = "acknowledged"
ACKNOWLEDGED_FOR = timedelta(hours=8)
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
_MARKS = re.compile(r"([\\`*_{}\[\]()#+!|~$-])")
_MOST_PAGES = 20


class GitHubChannel(HttpChannel):
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
        number = reference or self._known(message)
        if not number:
            return self._open(message) if message.action != "resolve" else ""
        if message.action == "resolve":
            self._comment(number, f"Resolved: {plain(message.history)}")
            self._change(number, {"state": "closed", "state_reason": "completed"})
        else:
            # one that returns
            self._change(number, {"state": "open", "labels": self._labels(message)})
            self._comment(number, plain(message.history) or "updated")
        return number

    def acknowledged(self, references: Mapping[str, str]) -> Mapping[str, Acknowledgement]:
        """Return those whose issue has the label `acknowledged`."""
        found = {}
        for incident_id, number in references.items():
            issue = self.document(self.ask("GET", f"{self._issues}/{number}"))
            names = {label.get("name") for label in issue.get("labels", ())}
            if ACKNOWLEDGED in names:
                people = [one["login"] for one in issue.get("assignees") or ()]
                who, now = ", ".join(people) or NAME, datetime.now(UTC)
                why = f"label on issue {number}"
                found[incident_id] = Acknowledgement(who, now, now + ACKNOWLEDGED_FOR, why)
        return found

    def check(self) -> ServiceCheck:
        """Check that the issues can be read; whether they may be written shows when they are."""
        try:
            self.ask("GET", self._issues, params={"per_page": "1"})
        except FedvitalsError as error:
            fix = str(error.facts.get("fix") or f"Check {self.service.origin}")
            return ServiceCheck(NAME, "answers", False, str(error.facts["problem"]), fix)
        return ServiceCheck(NAME, "answers", True, "issues can be read")

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
        # another process may have made one meanwhile
        first, *others = sorted({int(made), *map(int, self._marked(message, "open"))})
        for number in others:
            self._comment(str(number), f"A duplicate of #{first}.")
            self._change(str(number), {"state": "closed", "state_reason": "not_planned"})
        return str(first)

    def _create(self, body: Mapping[str, Any]) -> str | None:
        """Return the number of a new issue; None when its assignees are refused."""
        good = (
            (HTTPStatus.CREATED, HTTPStatus.UNPROCESSABLE_ENTITY) if body["assignees"] else _CREATED
        )
        answer = self.ask("POST", self._issues, good, json=body)
        if answer.status != HTTPStatus.CREATED:
            return None
        return str(self.document(answer)["number"])

    def _known(self, message: AlertMessage) -> str:
        """Return the number of the incident's issue, whose answer got lost; else none."""
        return next(iter(sorted(self._marked(message, "open"), key=int)), "")

    def _marked(self, message: AlertMessage, state: str) -> Iterator[str]:
        query = {"labels": ",".join(LABELS), "state": state, "per_page": "100"}
        for page in range(1, _MOST_PAGES + 1):
            answer = self.ask("GET", self._issues, params={**query, "page": str(page)})
            issues = self.document(answer)
            for issue in issues:
                is_ours = mark_of(message) in (issue.get("body") or "")
                if is_ours and "pull_request" not in issue:
                    yield str(issue["number"])
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
    return f"<!-- fedvitals:{message.fingerprint}:{message.incident_id} -->"


def body_of(message: AlertMessage) -> str:
    """Return the text of an issue; what comes from outside is text, and mentions nobody."""
    facts = "\n".join(f"**{label}**: {plain(value)}" for label, value in message.facts)
    failed = "".join(f"\n- {plain(name)}" for name in message.failed)
    links = "\n".join(
        f"- [{title}]({url})" if is_link(url) else f"- {title}: {plain(url)}"
        for title, url in message.links
    )
    return "\n".join(
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
            "",
            mark_of(message),
        )
    )


def plain(text: str) -> str:
    """Return Markdown that shows the text as it is."""
    safe = html.escape(text, quote=False).replace("@", "&#64;")
    return _MARKS.sub(lambda found: f"&#{ord(found[0])};", safe.replace("&#", "\0")).replace(
        "\0", "&#"
    )
