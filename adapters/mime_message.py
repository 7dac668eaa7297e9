"""The bytes of a mail (RFC 5322, MIME), with a guard against headers that nobody asked for."""

import re
from collections import Counter
from datetime import datetime
from email.header import Header
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import SMTP, default
from email.utils import format_datetime, parseaddr

from domain.action import SUBJECT_CHARS_MAX
from domain.mail import OutgoingMail, single_line

HEADERS = ("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type")
"""What a mail of ours has, each once."""

SUBJECT_CHARS_PLAIN = 67
"""An ASCII subject up to this length fits a line of 76 characters with its name (RFC 2047, section 2) as it is."""

_BODY_POLICY = SMTP.clone(cte_type="7bit")
_ADDRESS = re.compile(r'[^\s<>()\[\],;:\\"@\x00-\x1f\x7f]{1,256}@[^\s<>()\[\],;:\\"@\x00-\x1f\x7f]{1,255}')
_MESSAGE_ID = re.compile(r"<[!-;=?A-~]{1,200}@[!-;=?A-~]{1,255}>")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9 ]{1,40}")


class MessageRefused(ValueError):
    """This mail cannot be written without changing its meaning."""


def build_message(mail: OutgoingMail, *, sender: str, date: datetime) -> bytes:
    """The mail as it goes over the wire: CRLF, ASCII (UTF-8 only in the headers of an address that needs it, RFC 6532),
    multipart/alternative with the text before the HTML (RFC 2046, section 5.1.4), both quoted-printable.

    `sender` is an address, or `Name <address>`; `date` is aware. `Auto-Submitted` tells vacation responders to be still
    (RFC 3834). Raises `MessageRefused` for an address or message id that is not exactly one, and when the result does
    not read back with exactly `HEADERS`.

    The headers are written here and not by `EmailMessage`: it decodes encoded words in what it is given and, before
    CPython 3.11.10, writes a line break hidden in one as a line break (CVE-2024-6923).
    """
    if not _MESSAGE_ID.fullmatch(mail.message_id):
        raise MessageRefused(f"{mail.message_id!r} is not a message id")
    headers = {
        "From": _mailbox(sender),
        "To": envelope_address(mail.to),
        "Subject": _unstructured(mail.subject),
        "Date": format_datetime(date),
        "Message-ID": mail.message_id,
        "Auto-Submitted": "auto-generated",
    }
    body = EmailMessage(policy=_BODY_POLICY)
    body.set_content(_encodable(mail.body.text), cte="quoted-printable")
    body.add_alternative(_encodable(mail.body.html), subtype="html", cte="quoted-printable")
    data = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode() + body.as_bytes()
    check_headers(data, mail)
    return data


def check_headers(data: bytes, mail: OutgoingMail) -> None:
    """Read `data` back and raise `MessageRefused` unless it has exactly `HEADERS` and goes to `mail.to` alone."""
    read = BytesParser(policy=default).parsebytes(data, headersonly=True)
    names = Counter(name.lower() for name, _ in read.items())
    if names != Counter(name.lower() for name in HEADERS) or str(read["To"]) != mail.to or read.defects:
        raise MessageRefused("the headers of this mail do not read back as they were meant")


def envelope_address(mailbox: str) -> str:
    """The bare address in `address` or `Name <address>`; raises `MessageRefused` unless it is exactly one."""
    _, address = parseaddr(mailbox)
    if not _ADDRESS.fullmatch(address) or not mailbox.endswith((address, f"<{address}>")):
        raise MessageRefused(f"{mailbox!r} is not one address")
    return address


def decoded(text: str) -> str:
    """`text` on one line, as a mail reader shows it: encoded words (RFC 2047) are decoded until none is left, then control
    characters are removed. The other order would keep the line break that hides in `=0D=0A`."""
    line = single_line(text, chars_max=SUBJECT_CHARS_MAX)
    while (shown := single_line(str(SMTP.header_factory("Subject", line)), chars_max=SUBJECT_CHARS_MAX)) != line:
        line = shown
    return line


def _unstructured(text: str) -> str:
    line = decoded(text)
    if line.isascii() and "=?" not in line and len(line) <= SUBJECT_CHARS_PLAIN:
        return line
    return Header(line, "utf-8", header_name="Subject").encode(linesep="\r\n")


def _mailbox(mailbox: str) -> str:
    address, name = envelope_address(mailbox), single_line(parseaddr(mailbox)[0], chars_max=SUBJECT_CHARS_MAX)
    if not name:
        return address
    shown = name if _PLAIN_NAME.fullmatch(name) else Header(name, "utf-8", header_name="From").encode(linesep="\r\n")
    return f"{shown} <{address}>"


def _encodable(text: str) -> str:
    return text.encode("utf-8", errors="replace").decode()
