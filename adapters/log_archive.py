"""Archive files: parts of the log, each an export that proves itself (docs/evidence.md), compressed with zstd."""

import hashlib
import io
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec
import zstandard

from adapters.kept_file import appearing_whole, make_folder
from adapters.log_export_format import LINE_BYTES_MAX, LoggedEvent, read
from domain.log_entry import LogEntry

SUFFIX = ".ndjson.zst"
SEGMENTS_HELD = 4
"""So many parts stay unpacked in memory: who replays goes through them in order, partition beside partition."""
LINES_TOLD = 500
_EVENT = b'{"event":'

Told = Callable[[int, int], None]
"""Hears how much of how much is done."""


class Segment(msgspec.Struct, frozen=True):
    """A part of the log in a file: the positions it holds, the file's name, and the SHA-256 (hexadecimal) of its bytes."""

    first: int
    last: int
    file: str
    sha256: str


class ArchiveUnreadable(Exception):
    """An archive file is not there, or not what it was."""


class ArchiveFiles:
    """The archive files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: OrderedDict[str, dict[int, bytes]] = OrderedDict()

    def path(self, file: str) -> Path:
        """Where a file stands."""
        return self._folder / file

    def entries(self, segment: Segment, positions: Collection[int]) -> dict[int, LogEntry]:
        """The entries at these positions of a segment, by position.

        Raises `ArchiveUnreadable` when the file is gone, was changed, or does not have them.
        """
        lines = self._lines(segment)
        found: dict[int, LogEntry] = {}
        for position in positions:
            line = read(lines.get(position, b""))
            if not isinstance(line, LoggedEvent):
                raise ArchiveUnreadable(f"{self.path(segment.file)} does not hold position {position}")
            found[position] = line.entry
        return found

    def _lines(self, segment: Segment) -> dict[int, bytes]:
        """The events' lines by position. Each event of the segment has one, in the order of positions."""
        held = self._held.pop(segment.file, None)
        if held is None:
            held = dict(enumerate(self._read(segment), start=segment.first))
            while len(self._held) >= SEGMENTS_HELD:
                self._held.popitem(last=False)
        self._held[segment.file] = held
        return held

    def _read(self, segment: Segment) -> Iterator[bytes]:
        path = self.path(segment.file)
        if not path.is_file():
            raise ArchiveUnreadable(
                f"{path} is not there; bring it back, or set VIGIL_ARCHIVE_DIR to the folder that has it"
            )
        if sha256_of(path) != segment.sha256:
            raise ArchiveUnreadable(f"{path} is not the file that was archived: its SHA-256 is not {segment.sha256}")
        return (line for line in lines_of(path) if line.startswith(_EVENT))


def lines_of(path: Path, told: Told = lambda _done, _total: None) -> Iterator[bytes]:
    """The lines of a file with their line feeds, unpacked when it is compressed; one that is longer than any can be comes
    in pieces, which are no lines of the format. `told` hears now and then how many of the file's bytes are read."""
    total = path.stat().st_size
    with path.open("rb") as source:
        unpacked: BinaryIO = source
        if path.name.endswith(".zst"):
            unpacked = io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(source), 2**20)
        for number, line in enumerate(iter(lambda: unpacked.readline(LINE_BYTES_MAX), b"")):
            if number % LINES_TOLD == 0:
                told(source.tell(), total)
            yield line


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def new_archive_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write lines to, compressed. It gets its name when it is complete and on disk; makes the folder."""
    make_folder(path.parent)
    with (
        appearing_whole(path) as file,
        zstandard.ZstdCompressor(level=9).stream_writer(file, closefd=False) as packed,
    ):
        yield packed
