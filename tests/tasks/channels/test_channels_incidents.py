"""Every channel of incidents: open, update, end, repeats, refusals, and hostile texts."""

import json
import re
import smtplib
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from pydantic import SecretStr
from pytest_httpserver import HTTPServer
from werkzeug import Response

from tasks.channels.apprise import AppriseChannel
from tasks.channels.email import EmailChannel
from tasks.channels.github import GitHubChannel, mark_of
from tasks.channels.grafana_incidents import GrafanaIncidents
from tasks.channels.pagerduty import PagerDutyChannel
from tasks.channels.slack import SlackChannel
from tasks.core.alert_services import AppriseService
from tasks.core.errors import ChannelRefused, ChannelUnavailable
from tasks.core.ports import AlertChannel
from tasks.core.severity import Severity
from tests.support.alert_samples import NASTY, a_message
from tests.support.fakes import github, pagerduty, slack, smtp
from tests.support.fakes.github import FakeGitHub
from tests.support.fakes.grafana import FakeGrafana
from tests.support.fakes.pagerduty import FakePagerDuty
from tests.support.fakes.slack import FakeSlack
from tests.support.fakes.smtp import PASSWORD, FakeMail, fake_mail

WAIT = timedelta(seconds=10)


@pytest.fixture
def mail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeMail]:
    with fake_mail(tmp_path) as fake:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", fake.ca_file)
        yield fake


def busy(status: int = 429, text: str = "slow down", **headers: str) -> Callable[[Any], Response]:
    return lambda request: Response(text, status, headers=headers)


def sent(channel: AlertChannel) -> str:
    """Send one message, and close."""
    with closing(channel):
        return channel.send(a_message(), "")


class TestSlack:
    def test_one_message_an_incident_with_its_history_in_a_thread(
        self, httpserver: HTTPServer
    ) -> None:
        fake = FakeSlack(httpserver)
        with closing(SlackChannel(fake.by_bot(), WAIT)) as channel:
            reference = channel.send(a_message(), "")
            assert reference.startswith(slack.CHANNEL_ID)
            assert channel.send(a_message("update"), reference) == reference
            channel.send(a_message("resolve"), reference)
            assert channel.check().ok
        (message,) = fake.messages.values()
        assert message["text"] == "[RESOLVED] production: TrainingStalled"
        assert [*fake.replies.values()] == [["09:01 update", "09:01 resolve"]]
        text = json.dumps(message["blocks"], ensure_ascii=False)
        for part in (
            "Value",
            "0.3 (limit 0.8)",
            "/api/status",
            "▁",
            "<https://docs.example/stalled|",
        ):
            assert part in text

    def test_a_webhook_gets_the_opening_and_the_end(self, httpserver: HTTPServer) -> None:
        fake = FakeSlack(httpserver)
        with closing(SlackChannel(fake.by_webhook(), WAIT)) as channel:
            reference = ""
            for action in ("open", "update", "acknowledge", "resolve"):
                reference = channel.send(a_message(action), reference)
        assert [title[:6] for title in fake.titles()] == ["[CRITI", "[RESOL"]

    def test_a_repeat_says_so(self, httpserver: HTTPServer) -> None:
        fake = FakeSlack(httpserver)
        with closing(SlackChannel(fake.by_bot(), WAIT)) as channel:
            channel.send(a_message(is_repeat=True), "")
        assert "(repeat" in fake.titles()[0]

    def test_a_message_that_was_deleted_is_shown_anew(self, httpserver: HTTPServer) -> None:
        fake = FakeSlack(httpserver)
        with closing(SlackChannel(fake.by_bot(), WAIT)) as channel:
            gone = f"{slack.CHANNEL_ID} 1600000000.000001"
            reference = channel.send(a_message("resolve"), gone)
            assert reference != gone
            with pytest.raises(ChannelRefused, match="channel_not_found"):
                channel.send(a_message("resolve"), "C0 1700000000.000000")
        assert [title[:10] for title in fake.titles()] == ["[RESOLVED]"]

    def test_what_is_refused(self, httpserver: HTTPServer) -> None:
        fake = FakeSlack(httpserver)
        with pytest.raises(ChannelRefused, match="channel_not_found"):
            sent(SlackChannel(fake.by_bot(channel="#none"), WAIT))
        with closing(SlackChannel(fake.by_bot(token="wrong"), WAIT)) as channel:
            assert "SLACK_BOT_TOKEN" in channel.check().fix
        with pytest.raises(ChannelRefused) as caught:
            sent(SlackChannel(fake.by_webhook("/services/wrong"), WAIT))
        assert "wrong" not in str(caught.value)

    def test_a_webhook_that_is_away_is_not_named(self, httpserver: HTTPServer) -> None:
        service = FakeSlack(httpserver).by_webhook()
        away = service._replace(webhook=SecretStr("http://127.0.0.1:9/services/s3cret"))
        with pytest.raises(ChannelUnavailable) as caught:
            sent(SlackChannel(away, WAIT))
        assert "s3cret" not in f"{caught.value!r} {caught.value} {caught.value.__cause__}"

    def test_the_path_of_a_webhook_is_never_shown(
        self, httpserver: HTTPServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("DEBUG")
        fake = FakeSlack(httpserver, faults=[busy(404, f"no hook at {slack.HOOK}")])
        with pytest.raises(ChannelRefused, match=r"no hook at \*\*\*") as caught:
            sent(SlackChannel(fake.by_webhook(), WAIT))
        sent(SlackChannel(fake.by_webhook(), WAIT))
        assert "s3cret" not in f"{caught.value!r} {caught.value.__cause__} {caplog.text}"

    @pytest.mark.parametrize(
        ("answer", "is_answered"),
        [
            (busy(**{"Retry-After": "7"}), True),
            (busy(500), True),
            # of a gateway: Slack may have shown the message
            (busy(502), False),
            (busy(504), False),
        ],
    )
    def test_what_may_pass_is_unavailable(
        self, httpserver: HTTPServer, answer: Any, is_answered: bool
    ) -> None:
        fake = FakeSlack(httpserver, faults=[answer])
        with pytest.raises(ChannelUnavailable) as caught:
            sent(SlackChannel(fake.by_bot(), WAIT))
        assert caught.value.facts["is_answered"] is is_answered
        assert caught.value.facts["retry_after"] in (7.0, None)

    def test_the_longest_message_fits(self, httpserver: HTTPServer) -> None:
        fake = FakeSlack(httpserver)
        facts = tuple((f"fact {n}", "v" * 900) for n in range(30))
        long = a_message(
            title="<" * 300, facts=facts, sentence="<" * 5000, failed=("x" * 900,) * 50,
            links=(("Logs", "https://logs.example/" + "x" * 5000),) * 20,
        )  # fmt: skip
        with closing(SlackChannel(fake.by_bot(), WAIT)) as channel:
            channel.send(long, "")
        (message,) = fake.messages.values()
        cut = [one["text"] for one in slack.objects(message["blocks"])]
        # no escape is cut in two
        assert not any("&" in re.sub("&(amp|lt|gt);", "", text) for text in cut)

    @pytest.mark.parametrize(
        ("blocks", "error"),
        [
            ([{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3001}}], "invalid"),
            ([{"type": "header", "text": {"type": "mrkdwn", "text": "x"}}], "invalid"),
            ([{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}], "invalid"),
            ([{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 2900}}] * 4, "too_long"),
        ],
    )
    def test_the_service_refuses(
        self, httpserver: HTTPServer, blocks: list[Any], error: str
    ) -> None:
        fake = FakeSlack(httpserver)
        body = {"channel": slack.CHANNEL, "text": "t", "blocks": blocks}
        headers = {"Authorization": f"Bearer {slack.TOKEN}"}
        for url in (f"{fake.url}/api/chat.postMessage", fake.url + slack.HOOK):
            raw = requests.post(url, json=body, headers=headers, timeout=5)
            assert error in raw.text
        assert fake.messages == {}


class TestPagerDuty:
    def test_an_alert_an_incident(self, httpserver: HTTPServer) -> None:
        fake = FakePagerDuty(httpserver)
        with closing(PagerDutyChannel(fake.service(), WAIT)) as channel:
            key = channel.send(a_message(), "")
            channel.send(a_message("update"), key)
            channel.send(a_message(), key)
            assert fake.states() == ["triggered"]
            assert channel.acknowledged({key: key}) == {}
            fake.acknowledge(key, "Ann")
            given = channel.acknowledged({key: key, "other": "other"})
            assert {id: (one.by, f"{one.at:%H:%M}") for id, one in given.items()} == {
                key: ("Ann", "09:05")
            }
            channel.send(a_message("resolve"), key)
            assert channel.check().ok
            # a digest pages for nothing
            channel.send(a_message("summary", incident_id="digest"), "")
        payload = fake.incidents[0].payload
        names = ("source", "component", "group", "class", "severity")
        assert tuple(payload[name] for name in names) == (
            "Fed-ViT-AutoRL Monitoring", "federated-learning-system", "infrastructure",
            "monitoring", "critical",
        )  # fmt: skip
        assert fake.states() == ["resolved"]

    def test_without_a_token_acknowledgements_are_unknown(self, httpserver: HTTPServer) -> None:
        fake = FakePagerDuty(httpserver)
        with closing(PagerDutyChannel(fake.service(token=None), WAIT)) as channel:
            assert channel.acknowledged({"a": "a"}) == {}
            assert "PAGERDUTY_API_TOKEN" in channel.check().fix
        wrong = fake.service(token="wr0ng")
        with closing(PagerDutyChannel(wrong, WAIT)) as channel:
            found = channel.check()
            assert not found.ok
            assert "PAGERDUTY_API_TOKEN" in found.fix

    def test_a_wrong_key_is_refused_and_not_named(self, httpserver: HTTPServer) -> None:
        fake, wrong = FakePagerDuty(httpserver), "f" * 32
        with pytest.raises(ChannelRefused, match="should be 32 characters") as caught:
            sent(PagerDutyChannel(fake.service(wrong), WAIT))
        assert wrong not in str(caught.value)

    def test_a_summary_is_cut_and_the_service_refuses_a_long_one(
        self, httpserver: HTTPServer
    ) -> None:
        fake = FakePagerDuty(httpserver)
        with closing(PagerDutyChannel(fake.service(), WAIT)) as channel:
            channel.send(a_message(sentence="s" * 3000), "")
        event = {"routing_key": pagerduty.KEY, "event_action": "trigger", "dedup_key": "k",
                 "payload": {"summary": "s" * 1025, "source": "s", "severity": "high"}}  # fmt: skip
        raw = requests.post(f"{fake.url}/v2/enqueue", json=event, timeout=5)
        assert (raw.status_code, len(raw.json()["errors"])) == (400, 2)

    def test_throttled_it_waits(self, httpserver: HTTPServer) -> None:
        fake = FakePagerDuty(httpserver, faults=[busy()])
        with pytest.raises(ChannelUnavailable):
            sent(PagerDutyChannel(fake.service(), WAIT))


class TestGitHub:
    def test_an_issue_is_opened_commented_and_closed(self, httpserver: HTTPServer) -> None:
        fake = FakeGitHub(httpserver)
        with closing(GitHubChannel(fake.service(assignees=("ann",)), WAIT)) as channel:
            number = channel.send(a_message(), "")
            channel.send(a_message("update"), number)
            channel.send(a_message("resolve"), number)
            assert channel.check().ok
        issue = fake.issues[int(number)]
        assert issue["title"] == "🚨 CRITICAL: TrainingStalled"
        assert {one["name"] for one in issue["labels"]} == {
            "alert",
            "monitoring",
            "severity-critical",
        }
        assert issue["assignees"] == [{"login": "ann"}]
        assert issue["body"].count("- [ ] ") == 5
        assert (issue["state"], len(fake.comments[int(number)])) == ("closed", 2)

    def test_labels_of_people_stay_and_a_return_is_not_acknowledged(
        self, httpserver: HTTPServer
    ) -> None:
        fake = FakeGitHub(httpserver)
        worse = a_message("update", severity=Severity.HIGH)
        with closing(GitHubChannel(fake.service(), WAIT)) as channel:
            number = channel.send(a_message(), "")
            for name in ("team-a", "acknowledged"):
                fake.label(1, name, "ann", "2026-12-01T09:05:00Z")
            channel.send(worse, number)
            ours = {"alert", "monitoring", "severity-high", "team-a"}
            assert fake.names(1) == ours | {"acknowledged"}
            channel.send(a_message("resolve"), number)
            # once more, since its answer got lost: it is closed already
            channel.send(a_message("resolve"), number)
            assert len(fake.comments[1]) == 2
            channel.send(worse, number)
        assert fake.names(1) == ours
        assert fake.open_numbers() == [1]

    def test_an_issue_that_was_deleted_is_opened_anew(self, httpserver: HTTPServer) -> None:
        fake = FakeGitHub(httpserver)
        with closing(GitHubChannel(fake.service(), WAIT)) as channel:
            assert channel.send(a_message("resolve"), "7") == "7"
            assert channel.send(a_message("update"), "7") == "1"

    def test_a_text_of_any_length_keeps_its_mark(self, httpserver: HTTPServer) -> None:
        fake = FakeGitHub(httpserver)
        long = a_message(sentence="#" * 40_000)
        with closing(GitHubChannel(fake.service(), WAIT)) as channel:
            assert channel.send(long, "") == channel.send(long, "") == "1"
        headers = {"Authorization": f"Bearer {github.TOKEN}"}
        content = {"title": "x", "body": "x" * 65_537}
        raw = requests.post(fake.url + github.PATH, json=content, headers=headers, timeout=5)
        assert raw.status_code == 422

    def test_an_answer_that_got_lost_makes_no_second_issue(self, httpserver: HTTPServer) -> None:
        fake = FakeGitHub(httpserver)
        with closing(GitHubChannel(fake.service(), WAIT)) as channel:
            assert channel.send(a_message(), "") == channel.send(a_message(), "") == "1"
        assert len(fake.issues) == 1

    def test_of_two_made_at_once_one_is_kept(self, httpserver: HTTPServer) -> None:
        fake = FakeGitHub(httpserver)
        other = {"title": "x", "body": mark_of(a_message()), "labels": ["alert", "monitoring"]}

        def race() -> None:
            fake.after_create = lambda: None
            fake.add(other)

        fake.after_create = race
        with closing(GitHubChannel(fake.service(), WAIT)) as channel:
            assert channel.send(a_message(), "") == "1"
        assert fake.open_numbers() == [1]
        assert "#1" in fake.comments[2][0]

    def test_an_issue_on_the_second_page_is_found(self, httpserver: HTTPServer) -> None:
        fake = FakeGitHub(httpserver)
        with closing(GitHubChannel(fake.service(), WAIT)) as channel:
            assert channel.send(a_message(), "") == "1"
            for _ in range(120):
                fake.add({"title": "other", "body": "", "labels": ["alert", "monitoring"]})
            assert channel.send(a_message(), "") == "1"

    def test_an_assignee_who_is_refused_is_named(self, httpserver: HTTPServer) -> None:
        fake = FakeGitHub(httpserver)
        with closing(GitHubChannel(fake.service(assignees=("on-call-engineer",)), WAIT)) as channel:
            number = channel.send(a_message(), "")
        issue = fake.issues[int(number)]
        assert issue["assignees"] == []
        assert "on&#45;call&#45;engineer" in issue["body"]

    def test_the_label_acknowledged_counts(self, httpserver: HTTPServer) -> None:
        fake = FakeGitHub(httpserver)
        with closing(GitHubChannel(fake.service(), WAIT)) as channel:
            number = channel.send(a_message(), "")
            assert channel.acknowledged({"i": number}) == {}
            fake.label(1, "acknowledged", "bob", "2026-12-01T09:05:00Z")
            given = channel.acknowledged({"i": number, "other": "9"})
        assert {id: (one.by, f"{one.at:%H:%M}") for id, one in given.items()} == {
            "i": ("bob", "09:05")
        }

    @pytest.mark.parametrize(
        ("answer", "seconds"),
        [
            (busy(403, "a limit", **{"Retry-After": "30"}), 30),
            (busy(429, "a limit", **{"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1"}), 1),
            (busy(403, "You have exceeded a secondary rate limit"), 60),
        ],
    )
    def test_a_limit_is_waited_for(self, httpserver: HTTPServer, answer: Any, seconds: int) -> None:
        fake = FakeGitHub(httpserver, faults=[answer])
        with pytest.raises(ChannelUnavailable) as caught:
            sent(GitHubChannel(fake.service(), WAIT))
        assert caught.value.facts["retry_after"] == seconds

    @pytest.mark.parametrize(
        "answer", [busy(403, "Resource not accessible"), busy(404, "Not Found")]
    )
    def test_a_lack_of_rights_is_refused(self, httpserver: HTTPServer, answer: Any) -> None:
        fake = FakeGitHub(httpserver, faults=[answer])
        with pytest.raises(ChannelRefused, match="GITHUB_TOKEN"):
            sent(GitHubChannel(fake.service(), WAIT))

    def test_the_service_refuses_what_lacks_a_title(self, httpserver: HTTPServer) -> None:
        fake = FakeGitHub(httpserver)
        headers = {"Authorization": f"Bearer {github.TOKEN}"}
        raw = requests.post(fake.url + github.PATH, json={"body": "x"}, headers=headers, timeout=5)
        assert raw.status_code == 422


class TestMail:
    def test_one_thread_an_incident(self, mail: FakeMail) -> None:
        channel = EmailChannel(mail.service(), WAIT)
        reference = channel.send(a_message(), "")
        assert channel.send(a_message("resolve"), reference) == reference
        first, second = mail.mails
        assert first["Subject"] == "[CRITICAL] production: TrainingStalled"
        # a long line is folded after its name
        ids = {first["Message-ID"], second["In-Reply-To"], second["References"]}
        assert {one.strip() for one in ids} == {reference}
        assert {part.get_content_type() for part in first.walk()} == {
            "multipart/alternative", "text/plain", "text/html",
        }  # fmt: skip
        assert channel.check().ok

    def test_a_certificate_of_another_name_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with fake_mail(tmp_path, name="elsewhere.example") as fake:
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", fake.ca_file)
            channel = EmailChannel(fake.service(), WAIT)
            with pytest.raises(ChannelRefused, match=r"(?i)certificate"):
                channel.send(a_message(), "")
        assert fake.mails == []

    def test_nothing_goes_in_the_open(self, tmp_path: Path) -> None:
        refused = pytest.raises(ChannelRefused, match="STARTTLS")
        with fake_mail(tmp_path, tls=False) as fake, refused:
            EmailChannel(fake.service(), WAIT).send(a_message(), "")
        assert fake.mails == []

    def test_a_wrong_password_is_refused_and_not_named(self, mail: FakeMail) -> None:
        channel = EmailChannel(mail.service("wr0ng-pass"), WAIT)
        with pytest.raises(ChannelRefused) as caught:
            channel.send(a_message(), "")
        assert "wr0ng-pass" not in str(caught.value)
        assert PASSWORD not in repr(mail.service())

    @pytest.mark.parametrize(
        ("answer", "kind", "is_answered"),
        [
            ("451 4.3.0 later", ChannelUnavailable, True),
            ("552 5.3.4 too large", ChannelRefused, None),
        ],
    )
    def test_answers(
        self, mail: FakeMail, answer: str, kind: Any, is_answered: bool | None
    ) -> None:
        mail.answers = [answer]
        with pytest.raises(kind) as caught:
            EmailChannel(mail.service(), WAIT).send(a_message(), "")
        assert caught.value.facts.get("is_answered") == is_answered

    def test_one_unknown_mailbox_is_no_failure_and_all_are(self, mail: FakeMail) -> None:
        mail.unknown = {"ann@example.com"}
        EmailChannel(mail.service(), WAIT).send(a_message(), "")
        mail.unknown |= {"ops@example.com"}
        with pytest.raises(ChannelRefused, match="no such mailbox"):
            EmailChannel(mail.service(), WAIT).send(a_message(), "")

    def test_of_two_mailboxes_one_may_take_it_later(self, mail: FakeMail) -> None:
        mail.unknown, mail.full = {"ops@example.com"}, {"ann@example.com"}
        with pytest.raises(ChannelUnavailable, match="mailbox full"):
            EmailChannel(mail.service(), WAIT).send(a_message(), "")

    def test_a_mail_whose_answer_got_lost_begins_no_other_thread(self, mail: FakeMail) -> None:
        channel = EmailChannel(mail.service(), WAIT)
        assert channel.send(a_message(), "") == channel.send(a_message(is_repeat=True), "")
        first, second = mail.mails
        assert first["Message-ID"] == second["Message-ID"]
        assert second["Subject"].startswith("(repeat)")

    def test_the_server_refuses_a_login_in_the_open(self, mail: FakeMail) -> None:
        with smtplib.SMTP("localhost", mail.port, timeout=5) as raw:
            with pytest.raises(smtplib.SMTPException):
                raw.login(smtp.USER, PASSWORD)
            assert raw.docmd("MAIL", "FROM:<a@example.com>")[0] == 530

    def test_a_server_that_is_away(self, mail: FakeMail) -> None:
        away = mail.service()._replace(port=9)
        with pytest.raises(ChannelUnavailable) as caught:
            EmailChannel(away, WAIT).send(a_message(), "")
        assert caught.value.facts["is_answered"]


class TestGrafana:
    def test_a_region_from_opening_to_end(self, httpserver: HTTPServer) -> None:
        fake = FakeGrafana(httpserver)
        with closing(GrafanaIncidents(fake.service(), WAIT)) as channel:
            reference = channel.send(a_message(), "")
            assert channel.send(a_message(), "") == reference
            channel.send(a_message("resolve"), reference)
            assert channel.check().ok
        (region,) = fake.annotations
        assert region["timeEnd"] - region["time"] == 9 * 60_000
        assert region["text"].startswith("[RESOLVED]")
        assert {"incident:0a1b2c3d4e5f6071", "critical", "production"} <= set(region["tags"])

    def test_a_region_that_was_deleted_is_made_anew(self, httpserver: HTTPServer) -> None:
        fake = FakeGrafana(httpserver)
        with closing(GrafanaIncidents(fake.service(), WAIT)) as channel:
            assert channel.send(a_message("resolve"), "9") == "1"
        (region,) = fake.annotations
        assert region["timeEnd"] - region["time"] == 9 * 60_000

    def test_the_service_refuses_times_in_seconds(self, httpserver: HTTPServer) -> None:
        fake = FakeGrafana(httpserver)
        raw = requests.post(
            fake.url + "/api/annotations", json={"text": "x", "time": 1_772_348_701},
            headers={"Authorization": "Bearer glsa_t0ken"}, timeout=5,
        )  # fmt: skip
        assert (raw.status_code, fake.annotations) == (400, [])

    def test_a_token_that_may_not_write_is_refused(self, httpserver: HTTPServer) -> None:
        fake = FakeGrafana(httpserver, may_write=False)
        with pytest.raises(ChannelRefused, match="GRAFANA_API_KEY"):
            sent(GrafanaIncidents(fake.service(), WAIT))


class TestApprise:
    def test_a_url_gets_the_message(self, httpserver: HTTPServer) -> None:
        taken: list[Any] = []

        def take(request: Any) -> Response:
            taken.append(request.get_json())
            return Response("ok")

        httpserver.expect_request("/one", method="POST").respond_with_handler(take)
        address = httpserver.url_for("/").removeprefix("http://")
        channel = AppriseChannel(AppriseService(SecretStr(f"json://{address}one")), WAIT)
        assert channel.send(a_message(sentence="@everyone"), "") == "apprise"
        assert [one["title"] for one in taken] == ["[CRITICAL] production: TrainingStalled"]
        assert "@everyone" not in taken[0]["message"]
        assert channel.check().ok

    def test_one_that_does_not_take_it_is_unavailable_and_an_unknown_one_is_refused(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("DEBUG")
        away = AppriseService(SecretStr("json://127.0.0.1:9/s3cret"))
        with pytest.raises(ChannelUnavailable) as caught:
            AppriseChannel(away, WAIT).send(a_message(), "")
        assert "s3cret" not in f"{caught.value} {caplog.text}"
        wrong = AppriseChannel(AppriseService(SecretStr("nothing-such")), WAIT)
        with pytest.raises(ChannelRefused, match="APPRISE_URLS"):
            wrong.send(a_message(), "")
        assert not wrong.check().ok


@pytest.mark.promise("Security: texts from outside mention nobody and run nothing in any channel")
@pytest.mark.parametrize("text", NASTY)
def test_texts_from_outside_are_texts(httpserver: HTTPServer, mail: FakeMail, text: str) -> None:
    shown_by = (FakeSlack(httpserver), FakePagerDuty(httpserver), FakeGitHub(httpserver))
    chat, pages, issues = shown_by
    channels: list[AlertChannel] = [
        SlackChannel(chat.by_bot(), WAIT),
        PagerDutyChannel(pages.service(), WAIT),
        GitHubChannel(issues.service(), WAIT),
        EmailChannel(mail.service(), WAIT),
    ]
    nasty = a_message(
        name=text, title=text, sentence=text, history=text, failed=(text,),
        facts=((text, text),), links=((text, f"javascript:{text}"),),
    )  # fmt: skip
    for channel in channels:
        channel.send(nasty, "")
        channel.close()
    (message,) = chat.messages.values()
    written = json.dumps(message)
    assert "<!channel>" not in written
    assert "<script>" not in written
    assert {one["type"] for one in slack.objects(message["blocks"])} == {"plain_text"}
    (issue,) = issues.issues.values()
    for mark in ("@everyone", " #1 ", "](http://evil", "<script>", "`code`"):
        assert mark not in issue["body"]
    assert issue["body"].count("<!-- fedvitals:") == 1
    (letter,) = mail.mails
    assert letter["Bcc"] is None
    page = next(part for part in letter.walk() if part.get_content_type() == "text/html")
    assert "<script>" not in page.get_content()
    assert 'href="javascript' not in page.get_content()


def test_what_was_never_connected_has_not_arrived(httpserver: HTTPServer) -> None:
    fake = FakeSlack(httpserver)
    fake.url = "http://127.0.0.1:9"
    for service in (fake.by_bot(), fake.by_webhook()):
        with pytest.raises(ChannelUnavailable) as caught:
            SlackChannel(service, WAIT).send(a_message(), "")
        assert caught.value.facts["is_answered"] is True
