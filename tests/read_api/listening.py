"""Listening to server-sent events in tests, as WHATWG HTML (9.2.6) has a browser do it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx

Json = dict[str, Any]


@dataclass
class Heard:
    """One event: its type, its id, and its data as JSON."""

    kind: str
    id: str
    data: Json


@dataclass
class Ear:
    """An open stream; `comments` and `retry` are what came beside the events."""

    response: httpx.Response
    comments: list[str] = field(default_factory=list)
    retry: int | None = None

    def __post_init__(self) -> None:
        self._lines = self.response.aiter_lines()
        self._last_id = ""

    async def hear(self, kind: str | None = None) -> Heard:
        """The next event, which has to be of this kind."""
        heard = await anext(self.events())
        assert kind in {None, heard.kind}, heard
        return heard

    async def rest(self) -> list[Heard]:
        """Everything until the stream ends by itself."""
        return [heard async for heard in self.events()]

    async def comment(self) -> str:
        """The next comment. An event before it would be lost."""
        async for line in self._lines:
            if line.startswith(":"):
                return line.removeprefix(":").strip()
        raise AssertionError("the stream ended")

    async def events(self) -> AsyncIterator[Heard]:
        kind, data = "message", ""
        async for line in self._lines:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            match name:
                case "":
                    if line:
                        self.comments.append(value)
                    elif data:
                        yield Heard(kind, self._last_id, json.loads(data))
                    if not line:
                        kind, data = "message", ""
                case "event":
                    kind = value
                case "data":
                    data += value
                case "id":
                    self._last_id = value
                case "retry":
                    self.retry = int(value)
                case _:
                    raise AssertionError(line)


class Listening:
    """A person with a token, at a server."""

    def __init__(self, client: httpx.AsyncClient, token: str) -> None:
        self._client, self._authorization = client, {"Authorization": f"Bearer {token}"}

    @asynccontextmanager
    async def to(self, monitor_id: UUID, *, since: str | None = None) -> AsyncIterator[Ear]:
        """The stream of a monitor, from the event `since` on."""
        headers = self._authorization | ({} if since is None else {"Last-Event-ID": since})
        async with self._client.stream("GET", f"/api/v1/monitors/{monitor_id}/stream", headers=headers) as response:
            assert response.status_code == 200, await response.aread()
            yield Ear(response)

    async def refused(self, monitor_id: UUID, status: int, *, since: str | None = None, **query: str) -> Json:
        """The error instead of a stream."""
        headers = self._authorization | ({} if since is None else {"Last-Event-ID": since})
        path = f"/api/v1/monitors/{monitor_id}/stream"
        response = await self._client.get(path, headers=headers, params=query or None)
        assert response.status_code == status, response.text
        error: Json = response.json()["error"]
        return {**error, "retry_after": response.headers.get("Retry-After")}

    async def read(self, path: str) -> Any:  # noqa: ANN401  JSON
        """The data of GET /api/v1 `path`."""
        response = await self._client.get(f"/api/v1{path}", headers=self._authorization)
        assert response.status_code == 200, response.text
        return response.json()["data"]
