"""The sessions that `vigil login` keeps: one for each Vigil, in a file that only its owner can read."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from adapters.kept_file import appearing_whole, make_folder

SPARE = timedelta(seconds=30)
"""An access token with less time than this is not begun with."""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """What proves somebody to one Vigil."""

    access_token: str
    expires_at: datetime
    refresh_token: str

    def lasts(self, now: datetime) -> bool:
        """Whether the access token can still be used."""
        return now + SPARE < self.expires_at


class _Kept(msgspec.Struct, kw_only=True):
    last: str | None = None
    sessions: dict[str, Session] = {}


class KeptSessions:
    """The sessions in a file, by the address of the Vigil they are for."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other commands from refreshing meanwhile: a refresh token that is used twice ends its session."""
        make_folder(self._file.parent)
        descriptor = os.open(self._file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @property
    def last(self) -> str | None:
        """The address of the last login."""
        return self._read().last

    def of(self, url: str) -> Session | None:
        """The session at this address."""
        return self._read().sessions.get(url)

    def keep(self, url: str, session: Session) -> None:
        """Keep this session from now on, in place of another at the same address."""
        kept = self._read()
        self._write(_Kept(last=url, sessions={**kept.sessions, url: session}))

    def forget(self, url: str) -> None:
        """Keep none at this address any more."""
        kept = self._read()
        others = {address: session for address, session in kept.sessions.items() if address != url}
        self._write(_Kept(last=None if kept.last == url else kept.last, sessions=others))

    def _read(self) -> _Kept:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=_Kept)
        except (FileNotFoundError, msgspec.DecodeError):
            return _Kept()

    def _write(self, kept: _Kept) -> None:
        make_folder(self._file.parent)
        with appearing_whole(self._file) as written:
            written.write(msgspec.json.encode(kept))
