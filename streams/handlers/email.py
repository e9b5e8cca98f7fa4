import asyncio
import hashlib
import re
from datetime import timedelta
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.parser import BytesHeaderParser
from email.utils import localtime
from typing import Any, Final

from laneway.context import Context
from laneway.files import FileStore
from laneway.registry import task
from schemas.errors import Reject
from schemas.payloads.email import Attachment, EmailPayload, EmailResult, split_address
from schemas.retry import RetryPolicy
from schemas.settings import EmailSettings

MAX_ATTACHMENT_BYTES: Final = 25 * 1024 * 1024
"""In all; what most servers take."""

_MEDIA_TYPE: Final = re.compile(r"(application|audio|font|image|model|text|video)/[A-Za-z0-9][A-Za-z0-9.+-]*")
_PLAIN_ID: Final = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
_UNSAFE_IN_NAME: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029/\\\\]|=\\?|\\?=")


# A server that greylists wants to see the message again after minutes, not seconds.
@task(
    "email",
    retry=RetryPolicy(max_attempts=6, first_delay=timedelta(seconds=5), factor=4, max_delay=timedelta(hours=1)),
    timeout=timedelta(minutes=2),
)
async def send_email(payload: EmailPayload, ctx: Context) -> dict[str, Any]:
    """Send one message over SMTP.

    Delivery: at least once. A run that dies after the server took the message sends it again, with the same
        `Message-ID`. Recipients that the server refuses beside others that it takes are told in the result and not
        tried again.

    Raises:
        Reject: the server refuses for good (5xx), there are too many recipients, or the attachments are too large.
        aiosmtplib.SMTPException: the server is not reachable or refuses for now (4xx): tried again.
    """
    import aiosmtplib

    settings = ctx.settings.email
    recipients = payload.recipients
    if len(recipients) > settings.max_recipients:
        raise Reject(f"{len(recipients)} recipients; this worker sends to at most {settings.max_recipients}")
    sender = payload.sender or settings.sender
    message_id = _message_id(ctx.idempotency_key, sender)
    content = await asyncio.to_thread(_render, payload, sender, message_id, ctx.files)
    if ctx.shadow:
        # What it would have said had everybody taken it: comparing is no reason to write to anybody.
        return EmailResult(message_id=message_id, accepted=list(recipients), refused={}).model_dump(mode="json")
    try:
        refusals, _ = await aiosmtplib.send(
            content,
            sender=split_address(sender)[1],
            recipients=list(recipients),
            **_connection(settings),
        )
    except aiosmtplib.SMTPRecipientsRefused as error:
        told = "; ".join(f"{each.recipient}: {each.code} {each.message}" for each in error.recipients)
        if all(_for_good(each.code) for each in error.recipients):
            raise Reject(f"the SMTP server refuses every recipient: {told}") from error
        raise
    except aiosmtplib.SMTPResponseException as error:
        if _for_good(error.code):
            raise Reject(f"the SMTP server refuses the message: {error.code} {error.message}") from error
        raise
    refused = {mailbox: f"{refusal.code} {refusal.message}" for mailbox, refusal in refusals.items()}
    ctx.logger.info("email sent", message_id=message_id, accepted=len(recipients) - len(refused), refused=len(refused))
    return EmailResult(
        message_id=message_id, accepted=[each for each in recipients if each not in refused], refused=refused
    ).model_dump(mode="json")


def _for_good(code: int) -> bool:
    return 500 <= code <= 599


def _connection(settings: EmailSettings) -> dict[str, Any]:
    return {
        "hostname": settings.host,
        "port": settings.port,
        "username": settings.username,
        "password": settings.password.get_secret_value() if settings.password else None,
        "use_tls": settings.security == "tls",
        # Never "if the server offers it": whoever can strip the offer could then read along.
        "start_tls": settings.security == "starttls",
        "timeout": settings.timeout,
    }


def _message_id(key: str, sender: str) -> str:
    # A task that another client put on the topic may have any id; one that cannot stand in a header is hashed.
    local = key if _PLAIN_ID.fullmatch(key) else hashlib.sha256(key.encode()).hexdigest()
    return f"<{local}@{split_address(sender)[1].rpartition('@')[2]}>"


def _render(payload: EmailPayload, sender: str, message_id: str, files: FileStore) -> bytes:
    message = EmailMessage(policy.SMTP)
    message["From"] = _address(sender)
    for name, addresses in (("To", payload.to), ("Cc", payload.cc), ("Reply-To", payload.reply_to)):
        if addresses:
            message[name] = [_address(each) for each in addresses]
    message["Subject"] = payload.subject
    message["Date"] = localtime()
    message["Message-ID"] = message_id
    message.set_content(payload.text)
    if payload.html is not None:
        message.add_alternative(payload.html, subtype="html")
    _attach(message, payload.attachments, files)
    content = message.as_bytes()
    # The second lock after the schema's checks: whatever slipped through them, no header that we did not set goes out.
    if BytesHeaderParser(policy=policy.SMTP).parsebytes(content).keys() != message.keys():
        raise Reject("the message would have headers that nobody asked for; a header's text is not plain text")
    return content


def _address(text: str) -> Address:
    name, mailbox = split_address(text)
    return Address(display_name=name, addr_spec=mailbox)


def _attach(message: EmailMessage, attachments: tuple[Attachment, ...], files: FileStore) -> None:
    stored = [(each, files.stat(each.ref)) for each in attachments]
    total = sum(file.size for _, file in stored)
    if total > MAX_ATTACHMENT_BYTES:
        raise Reject(f"attachments of {total} bytes; at most {MAX_ATTACHMENT_BYTES} go with one message")
    for attachment, file in stored:
        claimed = _MEDIA_TYPE.fullmatch(file.content_type.partition(";")[0].strip())
        maintype, _, subtype = (claimed[0] if claimed else "application/octet-stream").partition("/")
        message.add_attachment(
            files.path(file.ref).read_bytes(),
            maintype=maintype,
            subtype=subtype,
            filename=_UNSAFE_IN_NAME.sub("_", attachment.name or file.name),
        )
