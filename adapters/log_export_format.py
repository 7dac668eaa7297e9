"""The lines of an exported log (docs/evidence.md): what each kind says, and its only spelling.

A line that is not byte for byte as this module would write it is not a line of the format. So there is nothing that one
reader sees and another does not: no second value for a name, no field on the side, no number in another spelling.
"""

import msgspec

from adapters.postgres_log import canonical
from domain.log_entry import LogEntry
from domain.signed_head import SignedHead

FORMAT_VERSION = 1
LINE_BYTES_MAX = 64 * 1024**2
"""Far above the longest event; a reader needs to hold one line."""
GENESIS = bytes(32)
"""What the first event is chained to."""
FIELDS = LogEntry.__struct_fields__

_EVENT, _HASH, _END_OF_EVENT = b'{"event":', b',"hash":"', b'"}\n'
_AFTER_EVENT = len(_HASH) + 64 + len(_END_OF_EVENT)


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line: the positions that follow, the hash before the first of them, whose signatures there are (None:
    no signatures were asked for), and the names of an event's fields in their order."""

    vigil_export: int
    first: int
    last: int
    previous_hash: str
    key_id: str | None
    fields: tuple[str, ...] = FIELDS


class LoggedEvent(msgspec.Struct, frozen=True):
    """An event with the hash the log has for it (32 bytes)."""

    entry: LogEntry
    hash: bytes


class End(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last line: how many events and signed heads stand above."""

    events: int
    signed_heads: int


class _Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    position: int
    hash: str
    signed_at: str
    key_id: str
    signature: bytes


class _HeadLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    signed_head: _Head


class _EndLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    end: End


Line = Header | LoggedEvent | SignedHead | End

_headers = msgspec.json.Decoder(Header)
_entries = msgspec.json.Decoder(LogEntry)
_heads = msgspec.json.Decoder(_HeadLine)
_ends = msgspec.json.Decoder(_EndLine)


def written(line: Line) -> bytes:
    """The line as it stands in the file, with its line feed."""
    match line:
        case LoggedEvent(entry, digest):
            return _EVENT + canonical(entry) + _HASH + digest.hex().encode() + _END_OF_EVENT
        case SignedHead():
            head = _Head(line.position, line.hash.hex(), line.signed_at, line.key_id, line.signature)
            return msgspec.json.encode(_HeadLine(head)) + b"\n"
        case End():
            return msgspec.json.encode(_EndLine(line)) + b"\n"
        case Header():
            return msgspec.json.encode(line) + b"\n"


def read(line: bytes) -> Line | None:
    """What a line says, None when it is not one of the format."""
    try:
        said = _decoded(line)
        return said if written(said) == line else None
    except (msgspec.DecodeError, ValueError):  # ValueError: of hexadecimal digits and UTF-8
        return None


def _decoded(line: bytes) -> Line:
    if line.startswith(_EVENT):
        entry = _entries.decode(line[len(_EVENT) : -_AFTER_EVENT])
        digest = line[len(_HASH) - _AFTER_EVENT : -len(_END_OF_EVENT)].decode()
        return LoggedEvent(entry, bytes.fromhex(digest))
    if line.startswith(b'{"signed_head":'):
        head = _heads.decode(line).signed_head
        return SignedHead(head.position, bytes.fromhex(head.hash), head.signed_at, head.key_id, head.signature)
    if line.startswith(b'{"end":'):
        return _ends.decode(line).end
    return _headers.decode(line)
