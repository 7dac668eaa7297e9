"""Caught mails as files in a folder, and as the inbox shows them."""

import logging
import os
import re
from contextlib import suppress
from datetime import UTC, datetime
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from email.utils import parseaddr
from pathlib import Path

import msgspec

from domain.mail import single_line

MESSAGES_KEPT = 500
HEADER_CHARS_MAX = 2000

_FILE = re.compile(r"(\d{8,})\.json")
_log = logging.getLogger(__name__)


class CaughtMail(msgspec.Struct, frozen=True, kw_only=True, rename={"sender": "from"}):
    """A mail as the inbox shows it. `to` are the addresses it was handed over for (RFC 5321), which its header need not
    name; `received_at` is in UTC; a header that stands there twice has its values joined by a comma."""

    id: str
    sender: str
    to: tuple[str, ...]
    subject: str
    text: str
    html: str
    headers: dict[str, str]
    received_at: datetime


class _StoredMail(msgspec.Struct, frozen=True, kw_only=True):
    sender: str
    to: tuple[str, ...]
    received_at: datetime
    content: bytes


class MailFolder:
    """Mails as files, one each, the newest `kept` of them; what was added survives the end of the process.

    A file is written beside its name and then renamed, so that there is never half a mail. It holds reset and
    verification links, so only its owner may read it.
    """

    def __init__(self, folder: Path, *, kept: int = MESSAGES_KEPT) -> None:
        """Opens `folder` (made when missing) and reads what is there; a file that cannot be read is left alone."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder, self._kept = folder, kept
        self._mails: dict[str, CaughtMail] = {}
        for path in folder.glob("*.partial"):
            path.unlink()
        numbered = sorted((int(found[1]), path) for path in folder.iterdir() if (found := _FILE.fullmatch(path.name)))
        for _, path in numbered:
            try:
                self._mails[path.stem] = _read(path.stem, msgspec.json.decode(path.read_bytes(), type=_StoredMail))
            except msgspec.DecodeError:
                _log.warning("%s is not a mail and is not shown", path)
        self._last_number = numbered[-1][0] if numbered else 0
        self._forget_oldest()

    def add(self, *, sender: str, to: tuple[str, ...], content: bytes, received_at: datetime) -> CaughtMail:
        """Keep a mail. It does not wait for the disk itself (no fsync): a killed process loses nothing, a power cut may."""
        self._last_number += 1
        mail_id = f"{self._last_number:08d}"
        stored = _StoredMail(sender=sender, to=to, received_at=received_at.astimezone(UTC), content=content)
        mail = _read(mail_id, stored)  # first, so that no file is kept which the next start could not read
        partial = self._folder / f"{mail_id}.partial"
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(stored))
        partial.rename(self._path(mail_id))
        self._mails[mail_id] = mail
        self._forget_oldest()
        return mail

    def newest_first(self) -> list[CaughtMail]:
        """All mails that are kept."""
        for mail_id in [mail_id for mail_id in self._mails if not self._path(mail_id).exists()]:
            self._forget(mail_id)
        return list(reversed(self._mails.values()))

    def get(self, mail_id: str) -> CaughtMail | None:
        """The mail with this id, if it is kept."""
        if mail_id in self._mails and not self._path(mail_id).exists():
            self._forget(mail_id)
        return self._mails.get(mail_id)

    def clear(self) -> None:
        """Forget all mails."""
        for mail_id in list(self._mails):
            self._forget(mail_id)

    def _forget_oldest(self) -> None:
        for mail_id in list(self._mails)[: max(0, len(self._mails) - self._kept)]:
            self._forget(mail_id)

    def _forget(self, mail_id: str) -> None:
        self._path(mail_id).unlink(missing_ok=True)
        del self._mails[mail_id]

    def _path(self, mail_id: str) -> Path:
        return self._folder / f"{mail_id}.json"


def forget_mail_to(address: str, folder: Path) -> None:
    """Remove the mails to an address from a folder, whichever process keeps it: whoever shows them looks for the file."""
    for path in folder.glob("*.json") if folder.is_dir() else ():
        with suppress(FileNotFoundError, msgspec.DecodeError):
            mail = msgspec.json.decode(path.read_bytes(), type=_StoredMail)
            if address.casefold() in {recipient.casefold() for recipient in mail.to}:
                path.unlink()


def _read(mail_id: str, stored: _StoredMail) -> CaughtMail:
    message = message_from_bytes(stored.content)
    headers: dict[str, str] = {}
    for name, value in message.items():
        shown = _decoded(value)
        headers[name] = f"{headers[name]}, {shown}" if name in headers else shown
    return CaughtMail(
        id=mail_id,
        sender=parseaddr(str(message.get("From", "")))[1] or stored.sender,
        to=stored.to,
        subject=_decoded(message.get("Subject", "")),
        text=_body(message, "text/plain"),
        html=_body(message, "text/html"),
        headers=headers,
        received_at=stored.received_at,
    )


def _body(message: Message, content_type: str) -> str:
    """The first part of this type that is not an attachment."""
    for part in message.walk():
        if part.get_content_type() == content_type and part.get_content_disposition() != "attachment":
            payload = part.get_payload(decode=True)
            content = payload if isinstance(payload, bytes) else b""
            try:
                return content.decode(part.get_content_charset("utf-8"), errors="replace").replace("\r\n", "\n")
            except (LookupError, ValueError):  # a charset that is unknown, or no name at all
                return content.decode("utf-8", errors="replace")
    return ""


def _decoded(value: object) -> str:
    try:
        shown = str(make_header(decode_header(str(value))))
    except (HeaderParseError, LookupError, ValueError):
        shown = str(value)
    return single_line(shown, chars_max=HEADER_CHARS_MAX)
