"""The type ``email``: one message over SMTP."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from schemas.payloads.model import FileRef, Payload, Result

MAX_RECIPIENTS: Final = 1_000
"""Recipients that the schema takes in all; the worker's setting ``email.max_recipients`` is usually lower."""

# C0, DEL and C1 controls (CR, LF, NUL, NEL and TAB among them) and Unicode's own line and paragraph separators: each
# ends a header line for some reader, and what follows would be read as a header of the attacker's choice.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# Python before 3.11.10 writes newlines that such a word decodes to into the header unescaped (CVE-2024-6923).
_ENCODED_WORD: Final = re.compile(r"=\?[^?]*\?[A-Za-z]\?[^?]*\?=")
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL: Final = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_MAILBOX: Final = re.compile(rf"{_ATOM}(\.{_ATOM})*@{_LABEL}(\.{_LABEL})*")
_NAMED: Final = re.compile(r"(?P<name>[^<>]*)<(?P<mailbox>[^<>]*)>")


def check_header_text(text: str) -> str:
    """Return ``text`` if it can stand in a header.

    Raises:
        ValueError: it has a control character, a line separator or an encoded word.
    """
    control = _CONTROL.search(text)
    if control:
        raise ValueError(f"has the control character U+{ord(control[0]):04X}; want one line of text")
    if _ENCODED_WORD.search(text):
        raise ValueError("has an encoded word (=?…?=); write the text itself, it is encoded on its way")
    return text


def split_address(address: str) -> tuple[str, str]:
    """Display name (may be empty) and mailbox of ``ada@example.org`` or ``Ada Lovelace <ada@example.org>``.

    Raises:
        ValueError: it is neither.
    """
    check_header_text(address)
    named = _NAMED.fullmatch(address.strip())
    name, mailbox = (named["name"].strip().strip('"'), named["mailbox"]) if named else ("", address.strip())
    if len(mailbox) > 254 or not _MAILBOX.fullmatch(mailbox):
        raise ValueError("is no address; want 'ada@example.org' or 'Ada <ada@example.org>', a domain in its ASCII form")
    return name, mailbox


def _check_address(address: str) -> str:
    split_address(address)
    return address


def _one_or_many(value: object) -> object:
    return (value,) if isinstance(value, str) else value


HeaderText = Annotated[str, Field(max_length=500), AfterValidator(check_header_text)]
Address = Annotated[str, Field(max_length=400), AfterValidator(_check_address)]
Addresses = Annotated[
    tuple[Address, ...],
    Field(max_length=MAX_RECIPIENTS),
    BeforeValidator(_one_or_many, json_schema_input_type=str | list[str]),
]


class Attachment(Payload):
    """A file that goes with the message."""

    ref: FileRef
    """The file, as `POST /api/files` answered it."""
    name: HeaderText | None = None
    """What the reader sees; default: the name the file was sent in with."""


class EmailPayload(Payload):
    """One message. Control characters and line separators are refused in every header and address."""

    to: Addresses
    """One address or several: `ada@example.org` or `Ada <ada@example.org>`."""
    cc: Addresses = ()
    bcc: Addresses = ()
    """Get the message without being named in it."""
    reply_to: Addresses = ()
    subject: HeaderText
    text: Annotated[str, Field(max_length=200_000)]
    """The message as plain text."""
    html: Annotated[str, Field(max_length=200_000)] | None = None
    """The same as HTML, for readers that show it. It is sent as it is: escape what comes from others."""
    sender: Annotated[Address | None, Field(alias="from")] = None
    """Default: the worker's setting `email.sender`."""
    attachments: Annotated[tuple[Attachment, ...], Field(max_length=20)] = ()

    @property
    def recipients(self) -> tuple[str, ...]:
        """Mailboxes that get the message, each once."""
        return tuple(dict.fromkeys(split_address(each)[1] for each in (*self.to, *self.cc, *self.bcc)))

    @model_validator(mode="after")
    def _check_recipients(self) -> "EmailPayload":
        if not self.recipients:
            raise ValueError("has no recipient; name at least one in to, cc or bcc")
        if len(self.recipients) > MAX_RECIPIENTS:
            raise ValueError(f"has {len(self.recipients)} recipients; want at most {MAX_RECIPIENTS}")
        return self


class EmailResult(Result):
    """What the SMTP server said."""

    message_id: str
    """The message's `Message-ID`: the same for every run of the task, so that a repetition can be recognised."""
    accepted: list[str]
    """Mailboxes that the server took the message for."""
    refused: dict[str, str]
    """Mailboxes that it did not, each with its answer."""
