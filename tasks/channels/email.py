"""E-mail: one thread an incident, over STARTTLS whose certificate is checked."""

import html
import logging
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid

from tasks.channels.http import is_link, sparkline
from tasks.core.alert_services import EmailService
from tasks.core.checks import ServiceCheck
from tasks.core.errors import ChannelRefused, ChannelUnavailable, FedvitalsError
from tasks.core.incidents import AlertMessage
from tasks.core.outside import shortened
from tasks.core.ports import AlertChannel
from tasks.http import trusting

logger = logging.getLogger("fedvitals")
NAME = "e-mail"
TIMEOUT_SECONDS = 15.0
TLS_PORT = 465
# of ids of messages, which no server looks up
DOMAIN = "fedvitals.invalid"
_STYLE = """
:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:0;padding:16px;max-width:640px;overflow-wrap:anywhere}
h1{font-size:18px;margin:0 0 8px}ul{padding-left:20px}td{padding:2px 12px 2px 0;vertical-align:top}
td:first-child{opacity:.7;white-space:nowrap}.state{border-left:4px solid;padding-left:12px}
.critical{border-color:#c62828}.high{border-color:#ef6c00}.warning,.info{border-color:#f9a825}
.over{border-color:#2e7d32}a{color:#1565c0}@media(prefers-color-scheme:dark){a{color:#90caf9}}
"""


class EmailChannel(AlertChannel):
    """A mail server, and who gets mail."""

    name = NAME

    def __init__(self, service: EmailService, _: timedelta) -> None:
        """Sends are tried again by the outbox, not here."""
        self._service = service

    def send(self, message: AlertMessage, reference: str) -> str:
        """Send a mail; the reference is the id of the first one of the incident's thread."""
        # known before it is sent: one whose answer gets lost begins no other thread
        thread = reference or f"<{message.incident_id}@{DOMAIN}>"
        mail = self._mail(message, thread, is_first=not reference)
        try:
            with self._session() as session:
                refused = session.send_message(mail)
        except (OSError, smtplib.SMTPException) as error:
            raise self._failure(error) from error
        if refused:
            logger.warning("%s: refused for %s", NAME, ", ".join(sorted(refused)))
        return thread

    def check(self) -> ServiceCheck:
        """Log in, and send nothing."""
        try:
            with self._session():
                pass
        except (OSError, smtplib.SMTPException) as error:
            failure = self._failure(error)
            fix = str(failure.facts.get("fix") or "Check EMAIL_SMTP_HOST and EMAIL_SMTP_PORT")
            return ServiceCheck(NAME, "answers", False, str(failure.facts["problem"]), fix)
        return ServiceCheck(NAME, "answers", True, f"to {', '.join(self._service.recipients)}")

    def close(self) -> None:
        """Nothing is kept open."""

    @contextmanager
    def _session(self) -> Iterator[smtplib.SMTP]:
        service, context = self._service, trusting()
        if service.port == TLS_PORT:
            session: smtplib.SMTP = smtplib.SMTP_SSL(
                service.host, service.port, timeout=TIMEOUT_SECONDS, context=context
            )
        else:
            session = smtplib.SMTP(service.host, service.port, timeout=TIMEOUT_SECONDS)
        try:
            if service.port != TLS_PORT:
                # it raises where the server has no TLS: nothing goes in the open
                session.starttls(context=context)
            if service.password is not None:
                session.login(service.user, service.password.get_secret_value())
            yield session
        finally:
            # what it says to a farewell changes nothing: the mail is taken or not
            with suppress(OSError, smtplib.SMTPException):
                session.quit()

    def _mail(self, message: AlertMessage, thread: str, is_first: bool) -> EmailMessage:
        mail = EmailMessage()
        repeat = "(repeat) " if message.is_repeat else ""
        mail["Subject"] = shortened(f"{repeat}{message.title}", 200)
        mail["From"] = self._service.sender
        mail["To"] = ", ".join(self._service.recipients)
        mail["Date"] = format_datetime(message.time)
        mail["Auto-Submitted"] = "auto-generated"
        mail["Message-ID"] = thread if is_first else make_msgid(message.incident_id, DOMAIN)
        if not is_first:
            mail["In-Reply-To"] = mail["References"] = thread
        mail.set_content(text_of(message))
        mail.add_alternative(html_of(message), subtype="html")
        return mail

    def _failure(self, error: Exception) -> FedvitalsError:
        facts = {"channel": NAME, "url": f"{self._service.host}:{self._service.port}"}
        code = getattr(error, "smtp_code", None)
        words = getattr(error, "smtp_error", None)
        text = words.decode("utf-8", "replace") if isinstance(words, bytes) else str(error)
        if isinstance(error, smtplib.SMTPRecipientsRefused):
            # the one that may be taken later, where there is one
            code, answer = min(error.recipients.values())
            text = answer.decode("utf-8", "replace")
        secret = self._service.password
        text = text.replace(secret.get_secret_value(), "***") if secret else text
        problem = shortened(text or type(error).__name__)
        never = (smtplib.SMTPNotSupportedError, ssl.SSLCertVerificationError)
        if isinstance(error, never) or (code or 0) >= 500:
            fix = "Check EMAIL_SMTP_HOST, its certificate, EMAIL_SMTP_USER and the addresses"
            return ChannelRefused(**facts, status=code or 0, problem=problem, fix=fix)
        is_answered = code is not None or isinstance(error, ConnectionRefusedError)
        return ChannelUnavailable(
            **facts, problem=problem, retry_after=None, is_answered=is_answered
        )


def text_of(message: AlertMessage) -> str:
    """Return the mail as plain text."""
    lines = [message.title, "", message.sentence, *(f"- {name}" for name in message.failed), ""]
    lines += [f"{label}: {value}" for label, value in message.facts]
    lines += [message.history, "", *(f"{title}: {url}" for title, url in message.links)]
    return "\n".join(lines) + "\n"


def html_of(message: AlertMessage) -> str:
    """Return the mail as HTML; what comes from outside is escaped."""
    state = "over" if message.action == "resolve" else str(message.severity)
    rows = "".join(
        f"<tr><td>{_e(label)}</td><td>{_e(value)}</td></tr>" for label, value in message.facts
    )
    failed = "".join(f"<li>{_e(name)}</li>" for name in message.failed)
    bars = sparkline(message.newest)
    links = " · ".join(
        f'<a href="{_e(url)}">{_e(title)}</a>' if is_link(url) else f"{_e(title)}: {_e(url)}"
        for title, url in message.links
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<style>{_STYLE}</style></head><body>"
        f'<div class="state {state}"><h1>{_e(message.title)}</h1><p>{_e(message.sentence)}</p></div>'
        f"{f'<p><code>{bars}</code></p>' if bars else ''}"
        f"{f'<ul>{failed}</ul>' if failed else ''}<table>{rows}</table>"
        f"<p>{_e(message.history)}</p><p>{links}</p></body></html>"
    )


def _e(text: str) -> str:
    return html.escape(text)
