"""A mail server with STARTTLS, a login and mailboxes."""

import email
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from email.policy import default
from pathlib import Path
from typing import Any

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from pydantic import SecretStr

from tasks.core.alert_services import EmailService
from tests.support.process import free_port

USER, PASSWORD = "fedvitals@example.com", "m4il-s3cret"


@dataclass
class FakeMail:
    """`mails` are those that it took; `answers` are given to the next mails, in place of 250."""

    port: int = 0
    ca_file: str = ""
    mails: list[Message] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    full: set[str] = field(default_factory=set)

    def service(self, password: str = PASSWORD, host: str = "localhost") -> EmailService:
        people = ("ops@example.com", "ann@example.com")
        return EmailService(host, self.port, USER, SecretStr(password), USER, people)

    @property
    def variables(self) -> dict[str, str]:
        return {
            "EMAIL_SMTP_HOST": "localhost",
            "EMAIL_SMTP_PORT": str(self.port),
            "EMAIL_SMTP_USER": USER,
            "EMAIL_SMTP_PASSWORD": PASSWORD,
            "EMAIL_SMTP_FROM": USER,
            "EMAIL_SMTP_TO": "ops@example.com",
            "REQUESTS_CA_BUNDLE": self.ca_file,
        }

    async def handle_RCPT(  # noqa: N802
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any
    ) -> str:
        if address in self.unknown:
            return "550 5.1.1 no such mailbox"
        if address in self.full:
            return "452 4.2.2 mailbox full"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        if self.answers:
            return self.answers.pop(0)
        self.mails.append(email.message_from_bytes(envelope.content, policy=default))
        return "250 OK"


@contextmanager
def fake_mail(folder: Path, *, name: str = "localhost", tls: bool = True) -> Iterator[FakeMail]:
    """A server on loopback whose certificate is for `name`."""
    fake = FakeMail()
    authority = trustme.CA()
    fake.ca_file = str(folder / "ca.pem")
    authority.cert_pem.write_to_path(fake.ca_file)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)

    def login(_server: Any, _session: Any, _envelope: Any, _how: str, given: Any) -> AuthResult:
        known = LoginPassword(USER.encode(), PASSWORD.encode())
        # what it refuses it repeats, as careless servers do
        refusal = f"535 5.7.8 refused: {given.password.decode()}"
        return AuthResult(success=given == known, handled=False, message=refusal)

    options: dict[str, Any] = {"authenticator": login}
    if tls:
        options |= {"tls_context": context, "require_starttls": True}
    fake.port = free_port()
    controller = Controller(fake, hostname="127.0.0.1", port=fake.port, **options)
    controller.start()
    try:
        yield fake
    finally:
        controller.stop(no_assert=True)
