"""A server on loopback that takes batches on both wires: Anthropic's Message Batches, and OpenAI's files and batches.

Batches end when the test says so; each call is answered after the same scripts as in `tests.model_server`. What the results are
like can be changed, and each kind of request can be made to fail.
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from aiohttp import web

from tests.conftest import AT
from tests.model_server import Answer, Asked, Json, Wire, body_of

DROPPED = 0
"""The request is done, and its answer gets lost on the way."""
Lines = list[Json]


@dataclass(slots=True)
class Taken:
    """A batch that was taken."""

    id: str
    wire: Wire
    requests: Lines
    made_at: datetime
    metadata: Json = field(default_factory=dict)
    ends_as: str | None = None

    @property
    def calls(self) -> list[str]:
        return [str(request["custom_id"]) for request in self.requests]


@dataclass(slots=True)
class BatchServer:
    """What it took, and how it will answer: `script` answers one call, `mangle` changes lines of results, `faults` are statuses
    for the next requests of a kind: create, upload, list, retrieve, results."""

    url: str
    script: Callable[[Asked], Answer]
    now: Callable[[], datetime]
    taken: list[Taken] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[int]] = field(default_factory=dict)
    mangle: Callable[[Lines], Lines] = field(default=lambda lines: lines)
    page: int = 100
    asked: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    errors: list[Json] = field(default_factory=list)

    @property
    def openai_url(self) -> str:
        return f"{self.url}/v1"

    @property
    def calls(self) -> list[str]:
        """The calls of all batches that were taken: each of them is paid for."""
        return [call for batch in self.taken for call in batch.calls]

    def end(self, ends_as: str = "completed") -> None:
        """All batches are over."""
        for batch in self.taken:
            batch.ends_as = batch.ends_as or ends_as

    def routes(self) -> list[web.RouteDef]:
        named = [
            ("POST", "/v1/messages/batches", "create", self._create),
            ("GET", "/v1/messages/batches", "list", self._list),
            ("GET", "/v1/messages/batches/{id}", "retrieve", self._retrieve),
            ("GET", "/v1/messages/batches/{id}/results", "results", self._results),
            ("POST", "/v1/files", "upload", self._upload),
            ("GET", "/v1/files/{id}/content", "results", self._content),
            ("POST", "/v1/batches", "create", self._create_of_file),
            ("GET", "/v1/batches", "list", self._list),
            ("GET", "/v1/batches/{id}", "retrieve", self._retrieve),
        ]
        return [web.route(method, path, self._faulty(kind, handle)) for method, path, kind, handle in named]

    def _faulty(self, kind: str, handle: Any) -> Any:  # noqa: ANN401  handlers
        async def answer(request: web.Request) -> web.StreamResponse:
            self.asked.append(kind)
            self.headers.append({name.lower(): value for name, value in request.headers.items()})
            faults = self.faults.get(kind, [])
            status = faults.pop(0) if faults else None
            if status:
                return web.json_response({"error": {"type": "api_error", "message": "words"}}, status=status)
            response: web.StreamResponse = await handle(request)
            if status == DROPPED and request.transport is not None:
                request.transport.abort()
            return response

        return answer

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        batch = Taken(f"msgbatch_{len(self.taken)}", "messages", body["requests"], self.now())
        self.taken.append(batch)
        return web.json_response(self._shown(batch))

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        file = form["file"]
        assert form["purpose"] == "batch"
        assert isinstance(file, web.FileField)
        name = f"file-{len(self.files)}"
        self.files[name] = file.file.read()
        return web.json_response({"id": name, "object": "file"})

    async def _create_of_file(self, request: web.Request) -> web.Response:
        body = await request.json()
        lines = [json.loads(line) for line in self.files[body["input_file_id"]].splitlines()]
        assert (body["completion_window"], body["endpoint"]) == ("24h", "/v1/responses")
        batch = Taken(f"batch_{len(self.taken)}", "responses", lines, self.now(), body["metadata"])
        self.taken.append(batch)
        return web.json_response(self._shown(batch))

    async def _list(self, request: web.Request) -> web.Response:
        newest = list(reversed(self.taken))
        after = request.query.get("after") or request.query.get("after_id")
        first = 0 if after is None else next(at for at, one in enumerate(newest) if one.id == after) + 1
        page = newest[first : first + self.page]
        return web.json_response(
            {
                "data": [self._shown(one) for one in page],
                "has_more": first + self.page < len(newest),
                "last_id": page[-1].id if page else None,
            }
        )

    async def _retrieve(self, request: web.Request) -> web.Response:
        return web.json_response(self._shown(self._of(request)))

    async def _results(self, request: web.Request) -> web.Response:
        return self._lines(self._of(request))

    async def _content(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        return self._lines(next(one for one in self.taken if name == f"out-{one.id}"))

    def _of(self, request: web.Request) -> Taken:
        return next(one for one in self.taken if one.id == request.match_info["id"])

    def _shown(self, batch: Taken) -> Json:
        is_over = batch.ends_as is not None
        if batch.wire == "messages":
            counts = {"processing": 0, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
            counts["succeeded" if is_over else "processing"] = len(batch.requests)
            return {
                "id": batch.id,
                "type": "message_batch",
                "created_at": batch.made_at.isoformat(),
                "processing_status": "ended" if is_over else "in_progress",
                "request_counts": counts,
                "results_url": "https://elsewhere.example/results" if is_over else None,
            }
        return {
            "id": batch.id,
            "object": "batch",
            "created_at": int(batch.made_at.timestamp()),
            "status": batch.ends_as or "in_progress",
            "metadata": batch.metadata,
            "output_file_id": f"out-{batch.id}" if batch.ends_as in {"completed", "expired"} else None,
            "errors": {"data": self.errors},
        }

    def _lines(self, batch: Taken) -> web.Response:
        lines = self.mangle([self._line(batch, request) for request in batch.requests])
        return web.Response(body=b"".join(json.dumps(line).encode() + b"\n" for line in lines))

    def _line(self, batch: Taken, request: Json) -> Json:
        body = request["params"] if batch.wire == "messages" else request["body"]
        answer = self.script(Asked(batch.wire, {}, body))
        told = body_of(batch.wire, answer)
        if batch.wire == "messages":
            result = (
                {"type": "errored", "error": told} if answer.status >= 400 else {"type": "succeeded", "message": told}
            )
            return {"custom_id": request["custom_id"], "result": result}
        return {
            "custom_id": request["custom_id"],
            "response": {"status_code": answer.status, "body": told},
            "error": None,
        }


@asynccontextmanager
async def batch_server(
    script: Callable[[Asked], Answer], *, now: Callable[[], datetime] = lambda: AT
) -> AsyncIterator[BatchServer]:
    """Serve on a free port of loopback until the end of the block."""
    server = BatchServer("", script, now)
    application = web.Application(client_max_size=64 * 2**20)
    application.add_routes(server.routes())
    runner = web.AppRunner(application, handle_signals=False, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()
