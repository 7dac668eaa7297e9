"""A TCP proxy in front of PostgreSQL or Redis that cuts, silences, delays and chops what passes through it.

In front of PostgreSQL it reads the messages of the client (PostgreSQL manual, 54.7), so that a connection can be cut at
each of them: before the server gets it, in its middle, or after, so that the server acts and its answer is lost.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal
from urllib.parse import unquote, urlsplit

from psycopg.conninfo import conninfo_to_dict

_CHUNK_BYTES = 65536
_NOT_YET_STARTED = {80877102, 80877103, 80877104}
"""CancelRequest, SSLRequest and GSSENCRequest: after the last two another message without a type follows."""


class Side(Enum):
    """Whose bytes."""

    CLIENT = "client"
    SERVER = "server"


class Moment(Enum):
    """When a connection is cut, seen from the message it is cut at."""

    BEFORE = "before"
    MIDDLE = "middle"
    AFTER = "after"


@dataclass(frozen=True)
class Message:
    """A message of a client to PostgreSQL: its type, the statement it belongs to, its number since the proxy was armed (from
    1), and whether the server, once it has it, commits an append."""

    type: bytes
    statement: str
    number: int
    commits_append: bool


def commits_append(message: Message) -> bool:
    """For `TcpProxy.cut`: the moment when nobody knows whether it happened."""
    return message.commits_append


def appends(message: Message) -> bool:
    """For `TcpProxy.cut`: the server now runs an append, inside a transaction or as one of its own."""
    return message.type == b"S" and _is_append(message.statement)


def _is_append(statement: str) -> bool:
    return any(words in statement for words in ("insert into event (", "append_events(", "record_evaluations("))


@dataclass
class _Armed:
    """A cut that waits for its message."""

    when: Callable[[Message], bool]
    times: int
    reset: bool


@dataclass(eq=False)
class _Link:
    """One connection of a client and the one to the server behind it."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    statements: dict[bytes, str] = field(default_factory=dict)
    statement: str = ""
    in_transaction: bool = False
    appended: bool = False
    mute: bool = False

    def read(self, kind: bytes, body: bytes) -> None:
        """Follow the client."""
        match kind:
            case b"P":
                name, statement, *_ = body.split(b"\0")
                self.statement = self.statements[name] = statement.decode().strip()
            case b"B":
                self.statement = self.statements.get(body.split(b"\0")[1], "")
            case b"Q":
                self.statement = body.rstrip(b"\0").decode().strip()
                self.in_transaction = self.statement.upper().startswith("BEGIN")
            case _:
                pass
        self.appended |= _is_append(self.statement)

    def commits_append(self, kind: bytes) -> bool:
        """Whether a message that was just read does."""
        ends = kind == b"Q" or (kind == b"S" and not self.in_transaction)
        commits = ends and self.appended and "ROLLBACK" not in self.statement.upper()
        self.appended &= not ends
        return commits


class TcpProxy:
    """Listens on a free loopback port until `stop`; passes everything on unless told otherwise.

    `silent` swallows what these sides send, on connections old and new; `segment_bytes` and `delay_seconds` chop it;
    `moment` is when the next cut comes, which the condition of a cut may still change.
    """

    def __init__(self, target: str | tuple[str, int], *, protocol: Literal["postgres", "bytes"] = "bytes") -> None:
        self._target = target
        self._reads_messages = protocol == "postgres"
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._armed: _Armed | None = None
        self._server: asyncio.Server | None = None
        self.port = 0
        self.moment = Moment.AFTER
        self.messages = 0
        self.cuts = 0
        self.silent: set[Side] = set()
        self.segment_bytes = 0
        self.delay_seconds = 0.0

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        self.drop_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(
        self,
        when: Callable[[Message], bool],
        moment: Moment = Moment.AFTER,
        *,
        times: int = 1,
        reset: bool = False,
    ) -> None:
        """Cut the connection at the next messages of which `when` holds, so many times; with `reset` by RST, which also
        takes back what is still on its way. Counts messages and cuts from 0 again."""
        self._armed = _Armed(when, times, reset)
        self.moment = moment
        self.messages = self.cuts = 0

    async def settled(self) -> None:
        """Return when the server has finished what it was told on connections that were cut."""
        while any(link.mute for link in self._links):
            await asyncio.sleep(0.005)

    def heal(self) -> None:
        """Pass everything on again."""
        self._armed = None
        self.silent = set()
        self.segment_bytes, self.delay_seconds = 0, 0.0

    def lead_to(self, target: str | tuple[str, int]) -> None:
        """Lead new connections to another server, as an address that moves to a promoted one does."""
        self._target = target

    def drop_all(self, *, reset: bool = False) -> None:
        """Cut every connection there is."""
        for link in list(self._links):
            _close(link.client, reset=reset)
            _close(link.server, reset=reset)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, from_client: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        try:
            opening = (
                asyncio.open_unix_connection(self._target)
                if isinstance(self._target, str)
                else asyncio.open_connection(*self._target)
            )
            from_server, server = await opening
        except OSError:
            _close(client, reset=True)
            return
        link = _Link(client, server)
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_answers(from_server, link))
                group.create_task(self._pass_requests(from_client, link))
        except* (OSError, asyncio.IncompleteReadError, _Ended):
            pass
        finally:
            self._links.discard(link)
            _close(client)
            _close(server)

    async def _pass_answers(self, source: asyncio.StreamReader, link: _Link) -> None:
        while chunk := await source.read(_CHUNK_BYTES):
            if not link.mute:
                await self._send(link.client, chunk, Side.SERVER)
        raise _Ended

    async def _pass_requests(self, source: asyncio.StreamReader, link: _Link) -> None:
        if self._reads_messages:
            with suppress(asyncio.IncompleteReadError):
                await self._pass_messages(source, link)
        else:
            while chunk := await source.read(_CHUNK_BYTES):
                await self._send(link.server, chunk, Side.CLIENT)
        if link.mute:
            return  # the server may go on with what it has been told, until it answers
        raise _Ended

    async def _pass_messages(self, source: asyncio.StreamReader, link: _Link) -> None:
        begun = False
        while not begun:
            header = await source.readexactly(8)
            length, code = struct.unpack("!II", header)
            await self._send(link.server, header + await source.readexactly(length - 8), Side.CLIENT)
            begun = code not in _NOT_YET_STARTED
        while True:
            header = await source.readexactly(5)
            body = await source.readexactly(struct.unpack("!I", header[1:])[0] - 4)
            link.read(header[:1], body)
            self.messages += 1
            message = Message(header[:1], link.statement, self.messages, link.commits_append(header[:1]))
            if await self._is_cut_at(message, header + body, link):
                return
            await self._send(link.server, header + body, Side.CLIENT)

    async def _is_cut_at(self, message: Message, data: bytes, link: _Link) -> bool:
        armed = self._armed
        if armed is None or self.cuts >= armed.times or not armed.when(message):
            return False
        self.cuts += 1
        link.mute = True
        sent = {Moment.BEFORE: 0, Moment.MIDDLE: len(data) // 2, Moment.AFTER: len(data)}[self.moment]
        link.server.write(data[:sent])
        _close(link.client, reset=armed.reset)
        if self.moment is not Moment.AFTER:
            _close(link.server, reset=armed.reset)
        else:
            with suppress(OSError):
                await link.server.drain()
                link.server.write_eof()  # a server that waits for a lock notices nothing; one that answers ends then
        return True

    async def _send(self, writer: asyncio.StreamWriter, data: bytes, side: Side) -> None:
        if side in self.silent:
            return
        step = self.segment_bytes or len(data)
        for start in range(0, len(data), step):
            if self.delay_seconds:
                await asyncio.sleep(self.delay_seconds)
            if side in self.silent:
                return
            writer.write(data[start : start + step])
            await writer.drain()


class _Ended(Exception):
    """One side closed its connection, so the other is closed too."""


def _close(writer: asyncio.StreamWriter, *, reset: bool = False) -> None:
    """Close; with `reset` by RST instead of FIN (socket(7), SO_LINGER with no time)."""
    opened = writer.get_extra_info("socket")
    if reset and opened is not None and opened.family != socket.AF_UNIX:
        with suppress(OSError):
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    else:
        writer.close()


def server_of(url: str) -> str | tuple[str, int]:
    """Where the server of a libpq URL listens: the path of its socket, or host and port."""
    parts = conninfo_to_dict(url)
    host, port = str(parts["host"]), int(parts.get("port") or 5432)
    return f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)


@asynccontextmanager
async def postgres_behind(url: str) -> AsyncIterator[tuple[TcpProxy, str]]:
    """A proxy in front of the server of a libpq URL, and the URL that leads through it."""
    parts = conninfo_to_dict(url)
    proxy = TcpProxy(server_of(url), protocol="postgres")
    await proxy.start()
    try:
        plain = "sslmode=disable&gssencmode=disable"
        yield proxy, f"postgresql://{parts['user']}@127.0.0.1:{proxy.port}/{parts['dbname']}?{plain}"
    finally:
        await proxy.stop()


@asynccontextmanager
async def redis_behind(url: str) -> AsyncIterator[tuple[TcpProxy, str]]:
    """A proxy in front of a Redis, and the URL that leads through it."""
    parts = urlsplit(url)
    proxy = TcpProxy(unquote(parts.path) if parts.scheme == "unix" else (parts.hostname or "", parts.port or 6379))
    await proxy.start()
    try:
        yield proxy, f"redis://127.0.0.1:{proxy.port}/0"
    finally:
        await proxy.stop()
