"""The type email speaks to a real SMTP server: what it sends arrives, and every refusal is told for what it is."""

import asyncio
import email
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import policy
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from laneway.smtp_sink import SmtpSink
from schemas.errors import ConfigurationError, Reject
from schemas.payloads.email import EmailPayload
from schemas.settings import EmailSettings, Settings
from streams.handlers.email import send_email
from tests.support.contexts import RecordedContext, context_for, stored

GOOD = {"to": "ada@example.org", "subject": "Grüße", "text": "Hello, Ada.\n"}


def context(tmp_path: Path, port: int) -> RecordedContext:
    return context_for("email", Settings(data_dir=tmp_path / "data", email=EmailSettings(port=port, timeout=5)))


@pytest.fixture
async def sink(tmp_path: Path) -> AsyncIterator[SmtpSink]:
    async with SmtpSink(tmp_path / "mail") as sink:
        yield sink


async def test_a_message_arrives_whole(sink: SmtpSink, tmp_path: Path) -> None:
    ctx = context(tmp_path, sink.port)
    content = bytes(range(256)) * 1000
    sent = EmailPayload.model_validate(
        GOOD
        | {"bcc": "eve@example.org", "html": "<p>Hello</p>", "from": "Reports <reports@example.org>"}
        | {"attachments": [{"ref": stored(ctx, "data.bin", content), "name": "übersicht.bin"}]}
    )
    result = await send_email(sent, ctx)
    assert result["accepted"] == ["ada@example.org", "eve@example.org"]
    assert result["refused"] == {}
    [kept] = sink.messages()
    message = email.message_from_bytes(kept.read_bytes(), EmailMessage, policy=policy.SMTP)
    assert (message["From"], message["To"], message["Subject"]) == (
        "Reports <reports@example.org>",
        "ada@example.org",
        "Grüße",
    )
    assert message["Message-ID"] == result["message_id"]
    assert message.get_all("X-Envelope-To") == ["ada@example.org", "eve@example.org"]
    [attachment] = message.iter_attachments()
    assert (attachment.get_filename(), attachment.get_content()) == ("übersicht.bin", content)
    body = message.get_body(("plain",))
    assert body is not None
    assert body.get_content().replace("\r\n", "\n") == GOOD["text"]


async def test_a_line_that_is_a_dot_ends_nothing(sink: SmtpSink, tmp_path: Path) -> None:
    text = "before\n.\nQUIT\n..\nafter\n"
    await send_email(EmailPayload.model_validate(GOOD | {"text": text}), context(tmp_path, sink.port))
    [kept] = sink.messages()
    message = email.message_from_bytes(kept.read_bytes(), EmailMessage, policy=policy.SMTP)
    assert message.get_content().replace("\r\n", "\n") == text


async def test_a_second_run_sends_the_same_message_id(sink: SmtpSink, tmp_path: Path) -> None:
    payload = EmailPayload.model_validate(GOOD)
    results = [await send_email(payload, context(tmp_path, sink.port)) for _ in range(2)]
    assert results[0] == results[1]
    kept = [email.message_from_bytes(path.read_bytes())["Message-ID"] for path in sink.messages()]
    assert kept == [results[0]["message_id"]] * 2


async def test_fifty_messages_at_once_are_fifty_files(sink: SmtpSink, tmp_path: Path) -> None:
    payload = EmailPayload.model_validate(GOOD)
    await asyncio.gather(*(send_email(payload, context(tmp_path, sink.port)) for _ in range(50)))
    assert len(sink.messages()) == 50
    assert not list(sink.folder.glob(".*"))


class _Refusing:
    """Answers each recipient with the code that its name begins with, if it does."""

    # aiosmtpd finds its hooks by these names.
    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address[:3].isdigit():
            return f"{address[:3]} not taken"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        return "554 looks like spam" if b"spam" in (envelope.original_content or b"") else "250 OK"


@asynccontextmanager
async def refusing() -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(_Refusing(), loop=loop), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_recipients_refused_beside_accepted_ones_are_in_the_result(tmp_path: Path) -> None:
    payload = EmailPayload.model_validate(GOOD | {"cc": ["550@example.org", "450@example.org"]})
    async with refusing() as port:
        result = await send_email(payload, context(tmp_path, port))
    assert result["accepted"] == ["ada@example.org"]
    assert result["refused"] == {"550@example.org": "550 not taken", "450@example.org": "450 not taken"}


async def test_a_message_refused_for_good_is_rejected(tmp_path: Path) -> None:
    async with refusing() as port:
        with pytest.raises(Reject, match="554 looks like spam"):
            await send_email(EmailPayload.model_validate(GOOD | {"text": "spam\n"}), context(tmp_path, port))
        with pytest.raises(Reject, match=r"550@example\.org: 550 not taken"):
            await send_email(EmailPayload.model_validate(GOOD | {"to": "550@example.org"}), context(tmp_path, port))


async def test_trouble_that_passes_is_raised_as_it_came(tmp_path: Path) -> None:
    async with refusing() as port:
        with pytest.raises(aiosmtplib.SMTPRecipientsRefused):
            await send_email(EmailPayload.model_validate(GOOD | {"to": "450@example.org"}), context(tmp_path, port))
    with pytest.raises(aiosmtplib.SMTPConnectError):  # nobody listens there any more
        await send_email(EmailPayload.model_validate(GOOD), context(tmp_path, port))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "mail.example.org", ""])
def test_the_sink_listens_on_loopback_alone(host: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="loopback"):
        SmtpSink(tmp_path, host=host)
