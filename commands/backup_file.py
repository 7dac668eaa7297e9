"""Reading a changedetection.io backup: a zip, or the index out of one. Nothing is unpacked to disk and no path is used.

Older versions keep all watches in `url-watches.json`, newer ones each in `<id>/watch.json` and what they share in
`changedetection.json` (model/persistence.py and store there).
"""

import io
import re
import struct
import zipfile
import zlib
from typing import Any

import msgspec

from commands.changedetection import Backup
from commands.monitor_copies import ENTRIES_MAX
from domain.errors import InvalidInput

INDEX, SETTINGS = "url-watches.json", "changedetection.json"
DIRECTORY_BYTES_MAX = 4 * 1024 * 1024
"""Of the zip's own table of contents, some 40,000 files; Python makes an object of each."""
FILE_BYTES_MAX = 8 * 1024 * 1024
ALL_BYTES_MAX = 32 * 1024 * 1024

_WATCH = re.compile(r"(?:[^/\\]+/)?(?P<id>[0-9a-fA-F-]{32,36})/watch\.json")
_END = struct.Struct("<4s4H2LH")
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    struct.error,
)


def read_backup(content: bytes) -> Backup:
    """The watches in it and the settings they share. Raises `InvalidInput` for what is no backup, or too large a one.

    Time and memory are bounded by the constants above, whatever the zip says of itself."""
    if not content.startswith(b"PK"):
        return _index(_json(content, f"this is no zip, and as {INDEX} it"))
    try:
        return _from_zip(content)
    except _UNREADABLE as broken:
        raise _refused(f"this zip cannot be read ({type(broken).__name__})") from None


def _from_zip(content: bytes) -> Backup:
    if _directory_bytes(content) > DIRECTORY_BYTES_MAX:
        raise _refused(f"this zip has more files than Vigil looks through; send its {INDEX} alone")
    watches: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    room = ALL_BYTES_MAX
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for info in archive.infolist():
            name = info.filename.rpartition("/")[2]
            watch = _WATCH.fullmatch(info.filename)
            if name not in {INDEX, SETTINGS} and watch is None:
                continue
            data = _content(archive, info, min(FILE_BYTES_MAX, room))
            room -= len(data)
            found = _json(data, name)
            if watch is not None:
                watches[watch["id"]] = found
            else:
                index = _index(found) if name == INDEX else Backup({}, _mapping(_mapping(found).get("settings")))
                watches |= index.watches
                settings |= index.settings
            if len(watches) > ENTRIES_MAX:
                raise _refused(f"one import takes at most {ENTRIES_MAX} watches")
    if not watches:
        raise _refused(f"there is neither {INDEX} nor any watch.json in this zip")
    return Backup(watches, settings)


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo, bytes_max: int) -> bytes:
    """A file in the zip, counted while it is inflated. Other methods than deflate may ask for gigabytes of memory."""
    if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise NotImplementedError
    with archive.open(info) as file:
        data = file.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise _refused(f"{info.filename.rpartition('/')[2]} is larger than what one import takes")
    return data


def _directory_bytes(content: bytes) -> int:
    """How long the table of contents says it is, found as `zipfile` finds it (APPNOTE 4.3.16); with the extension for
    larger files, which no backup needs that fits into a request, it is taken for endless."""
    at = len(content) - _END.size
    if content[at : at + 4] != b"PK\5\6" or content[-2:] != b"\0\0":
        at = content.rfind(b"PK\5\6", max(0, len(content) - _END.size - 0xFFFF))
    if at < 0:
        raise zipfile.BadZipFile
    if content[max(0, at - 20) : at].startswith(b"PK\6\7"):
        return DIRECTORY_BYTES_MAX + 1
    _, _, _, _, _, size, _, _ = _END.unpack_from(content, at)
    return int(size)


def _index(found: object) -> Backup:
    watching = _mapping(found).get("watching")
    if not isinstance(watching, dict):
        raise _refused(f'this is no {INDEX}: it has no "watching"')
    if len(watching) > ENTRIES_MAX:
        raise _refused(f"one import takes at most {ENTRIES_MAX} watches; this has {len(watching)}")
    return Backup(watching, _mapping(_mapping(found).get("settings")))


def _mapping(found: object) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}


def _json(data: bytes, name: str) -> object:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise _refused(f"{name} is not JSON") from None


def _refused(message: str) -> InvalidInput:
    return InvalidInput(message, field="body")
