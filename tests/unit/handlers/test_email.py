"""The type email refuses what could forge a header, and tells trouble that passes from trouble that stays."""

import email
from email import policy
from email.message import EmailMessage
from typing import Any

import aiosmtplib
import pytest
from pydantic import TypeAdapter, ValidationError

import streams.handlers.email as handler
from laneway.registry import registry
from schemas.errors import LanewayError, PayloadError, Reject
from schemas.payloads.email import EmailPayload, split_address
from schemas.retry import DeadLetter, Retry, verdict
from schemas.settings import EmailSettings, Settings
from tests.support.contexts import context_for, stored

GOOD = {"to": "ada@example.org", "subject": "Hello", "text": "Hello, Ada.\n"}
BREAKS = ["\r", "\n", "\r\n", "\x00", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\t", "\x7f"]


def payload(**changes: object) -> EmailPayload:
    return EmailPayload.model_validate(GOOD | changes)


class Server:
    """Stands in for aiosmtplib.send: answers, or raises what it was given."""

    def __init__(self, answer: dict[str, aiosmtplib.SMTPResponse] | Exception) -> None:
        self.answer = answer
        self.content = b""
        self.asked: dict[str, Any] = {}

    async def __call__(self, content: bytes, **asked: Any) -> tuple[dict[str, aiosmtplib.SMTPResponse], str]:
        self.content, self.asked = content, asked
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer, "OK"

    @property
    def message(self) -> EmailMessage:
        return email.message_from_bytes(self.content, EmailMessage, policy=policy.SMTP)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server({})
    monkeypatch.setattr(aiosmtplib, "send", server)
    return server


@pytest.mark.parametrize("field", ["to", "cc", "bcc", "reply_to", "from", "subject"])
@pytest.mark.parametrize("broken_by", BREAKS, ids=ascii)
@pytest.mark.parametrize("where", ["inside", "end", "name"])
def test_a_line_break_is_refused_in_every_header(field: str, broken_by: str, where: str) -> None:
    forged = {
        "inside": f"ada@example.org{broken_by}Bcc: eve@example.org",
        "end": f"ada@example.org{broken_by}",
        "name": f"Ada{broken_by}Bcc: eve@example.org <ada@example.org>",
    }[where]
    with pytest.raises(ValidationError, match="control character"):
        payload(**{field: forged})


@pytest.mark.parametrize("field", ["subject", "to", "from"])
def test_an_encoded_word_is_refused_whatever_it_decodes_to(field: str) -> None:
    with pytest.raises(ValidationError, match="encoded word"):
        payload(**{field: "=?utf-8?q?hello=0D=0ABcc:_eve@example.org?= <ada@example.org>"})


def test_the_name_of_an_attachment_is_a_header_too() -> None:
    ref = "01976e2a-7c00-7d3e-8b11-5a6f0c9d2e41"
    with pytest.raises(ValidationError, match="control character"):
        payload(attachments=[{"ref": ref, "name": "a\r\nContent-Type: text/html"}])


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ada",
        "ada@",
        "@example.org",
        "ada@exa mple.org",
        "ada@-example.org",
        "a..b@example.org",
        "ada@münchen.example",
        "<ada@example.org",
        "ada@example.org, eve@example.org",
        "Ada <ada@example.org> <eve@example.org>",
        "a@b@c.org",
        "ada@" + "a" * 64 + ".org",
        "ada@" + ".".join(["a" * 60] * 5),
        "ada@[127.0.0.1]",
    ],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="address"):
        split_address(address)


@pytest.mark.parametrize(
    ("address", "name", "mailbox"),
    [
        ("ada@example.org", "", "ada@example.org"),
        ("Ada Lovelace <ada+work@mail.example.org>", "Ada Lovelace", "ada+work@mail.example.org"),
        ('"Lovelace, Ada" <ada@localhost>', "Lovelace, Ada", "ada@localhost"),
        ("Åda <o'neil@example.org>", "Åda", "o'neil@example.org"),
    ],
)
def test_an_address_is_a_name_and_a_mailbox(address: str, name: str, mailbox: str) -> None:
    assert split_address(address) == (name, mailbox)


def test_a_payload_is_refused_with_the_place() -> None:
    with pytest.raises(PayloadError) as refused:
        registry["email"].validate(b'{"to": ["ada@example.org", "nobody"], "subject": "x", "text": "y", "copy": 1}')
    assert [violation["at"] for violation in refused.value.violations] == ["/payload/to/1", "/payload/copy"]


def test_a_thousand_and_one_recipients_are_too_many_for_the_schema() -> None:
    with pytest.raises(ValidationError, match="at most 1000"):
        payload(to=[f"a{number}@example.org" for number in range(600)], cc=[f"b{n}@example.org" for n in range(401)])
    with pytest.raises(ValidationError, match="no recipient"):
        payload(to=[])


def test_the_json_schema_shows_one_address_or_many() -> None:
    to = TypeAdapter(EmailPayload).json_schema()["properties"]["to"]
    assert {option["type"] for option in to["anyOf"]} == {"string", "array"}


async def test_more_recipients_than_the_worker_allows_are_rejected(settings: Settings, server: Server) -> None:
    strict = settings.model_copy(update={"email": EmailSettings(max_recipients=1)})
    with pytest.raises(Reject, match="at most 1"):
        await handler.send_email(payload(cc="grace@example.org"), context_for("email", strict))
    assert server.content == b""


async def test_the_message_has_every_part_and_bcc_stays_unseen(settings: Settings, server: Server) -> None:
    context = context_for("email", settings)
    ref = stored(context, "naïve\r\n=?x?=.pdf", b"%PDF-1.4", "application/pdf; x=y")
    sent = payload(
        to="Ada Lövelace <ada@example.org>",
        cc=["grace@example.org"],
        bcc="eve@example.org",
        reply_to="help@example.org",
        subject="Grüße",
        html="<p>Hello</p>",
        attachments=[{"ref": ref}],
        **{"from": "Reports <reports@example.org>"},
    )
    result = await handler.send_email(sent, context)
    message = server.message
    assert message["From"] == "Reports <reports@example.org>"
    assert message["To"] == "Ada Lövelace <ada@example.org>"
    assert message["Subject"] == "Grüße"
    assert message["Bcc"] is None
    assert b"eve@" not in server.content
    kinds = [part.get_content_type() for part in message.walk()]
    assert kinds == ["multipart/mixed", "multipart/alternative", "text/plain", "text/html", "application/pdf"]
    assert [part.get_filename() for part in message.iter_attachments()] == ["naïve___x_.pdf"]
    assert server.asked["recipients"] == ["ada@example.org", "grace@example.org", "eve@example.org"]
    assert server.asked["start_tls"] is False
    assert result == {
        "message_id": "<01976e2a-7c00-7d3e-8b11-5a6f0c9d2e41.1@example.org>",
        "accepted": ["ada@example.org", "grace@example.org", "eve@example.org"],
        "refused": {},
    }


async def test_every_run_of_a_task_sends_one_message_id(settings: Settings, server: Server) -> None:
    ids = [
        (await handler.send_email(payload(), context_for("email", settings, attempt=attempt, task_id=task_id)))[
            "message_id"
        ]
        for task_id in ("one", "a\r\nBcc: eve@example.org")
        for attempt in (1, 2)
    ]
    assert ids[0] == ids[1] == "<one.1@localhost>"
    assert ids[2] == ids[3]
    assert server.message["Bcc"] is None


async def test_a_header_that_slipped_through_is_not_sent(settings: Settings, server: Server) -> None:
    # What the schema refuses, put there behind its back: the second lock is what is tried here.
    forged = payload().model_copy(update={"subject": "=?utf-8?q?hello=0D=0ABcc:_eve=40example.org?="})
    try:
        await handler.send_email(forged, context_for("email", settings))
    except (Reject, email.errors.MessageError):
        assert server.content == b""
    else:
        assert server.message["Bcc"] is None


async def test_refused_recipients_beside_accepted_ones_are_told(settings: Settings, server: Server) -> None:
    server.answer = {"grace@example.org": aiosmtplib.SMTPResponse(550, "no such user")}
    result = await handler.send_email(payload(cc="grace@example.org"), context_for("email", settings))
    assert result["accepted"] == ["ada@example.org"]
    assert result["refused"] == {"grace@example.org": "550 no such user"}


def _recipients(*codes: int) -> aiosmtplib.SMTPRecipientsRefused:
    return aiosmtplib.SMTPRecipientsRefused(
        [aiosmtplib.SMTPRecipientRefused(code, "no", f"a{n}@example.org") for n, code in enumerate(codes)]
    )


@pytest.mark.parametrize(
    ("trouble", "follows"),
    [
        (aiosmtplib.SMTPDataError(554, "spam"), DeadLetter),
        (aiosmtplib.SMTPDataError(451, "later"), Retry),
        (aiosmtplib.SMTPSenderRefused(550, "no", "laneway@localhost"), DeadLetter),
        (aiosmtplib.SMTPConnectResponseError(421, "busy"), Retry),
        (aiosmtplib.SMTPServerDisconnected("gone"), Retry),
        (aiosmtplib.SMTPConnectError("no route"), Retry),
        (aiosmtplib.SMTPReadTimeoutError("slow"), Retry),
        (ConnectionRefusedError(111, "refused"), Retry),
        (_recipients(550, 551), DeadLetter),
        (_recipients(550, 450), Retry),
    ],
    ids=repr,
)
async def test_5xx_is_for_good_and_everything_else_is_tried_again(
    trouble: Exception, follows: type, settings: Settings, server: Server
) -> None:
    server.answer = trouble
    with pytest.raises((LanewayError, aiosmtplib.SMTPException, OSError)) as raised:
        await handler.send_email(payload(), context_for("email", settings))
    assert type(verdict(raised.value, attempt=1, max_attempts=5, policy=registry["email"].retry)) is follows
