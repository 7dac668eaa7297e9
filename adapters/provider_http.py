"""How the SDKs of AI providers reach their servers: over aiohttp, with headers of ours alone and a limit to what is read.

The SDKs read headers, keys and organisations from the environment and tell of the platform and of traces; none of it leaves,
because only the method, the address and the body of what they send do. httpx2's own pool looks through all of its connections
for each request: with 500 in flight a call took 3.5 ms of a 2026 server core through it, and takes 0.9 ms like this.
"""

import io
import logging
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from typing import Final

import aiohttp
import httpx2
from yarl import URL

CONNECTIONS_MAX = 1000
CONNECT_SECONDS_MAX = 10.0
"""Who cannot be connected by then is not reached. Only a deadline of the whole call could not tell that nothing was sent."""
ANSWER_BYTES_MAX = 4 * 2**20
"""Far beyond the longest answer of a model. What is longer is cut here, and is no JSON then."""
_CHUNK_BYTES = 64 * 1024
WHOLE_BYTES_MAX = 2**20
"""Beyond it aiohttp warns of bodies that are written in one go."""
PORTS: Final = {"http": 80, "https": 443}
_HANDED_ON: Final = frozenset({"retry-after", "date"})

_TALKATIVE = ("anthropic", "openai", "httpx2")


class ProviderTransport(httpx2.AsyncBaseTransport):
    """Sends what an SDK asks for with `headers` and the key, and with nothing of the environment: no proxy, no redirect, no
    cookie. Answers come uncompressed, so that none can grow when it is read; what is longer than `answer_bytes_max` is cut."""

    def __init__(self, api_key: str, headers: Mapping[str, str], answer_bytes_max: int = ANSWER_BYTES_MAX) -> None:
        self._answer_bytes_max = answer_bytes_max
        self._headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
            "User-Agent": "Vigil/1",
            **headers,
        }
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Raises `httpx2.TransportError` when no whole answer comes, whose message holds nothing of the request but where it
        goes to: `LocalProtocolError` when it cannot be made, `ConnectError` when nothing of it was sent, and `ReadError` when
        the connection broke off after that. Of an error its status is enough."""
        body = b""
        try:
            async with self._opened().request(
                request.method,
                URL(str(request.url), encoded=True),
                data=_in_parts(await request.aread()),
                headers=self._headers | _kind_of(request),
                allow_redirects=False,
            ) as answer:
                with nullcontext() if answer.status < 300 else suppress(aiohttp.ClientError, OSError):
                    body = await _bounded(answer.content, self._answer_bytes_max)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as failed:
            raise httpx2.ConnectError(f"{_where(request)} could not be reached: {_why(failed)}") from None
        except ValueError as failed:
            raise httpx2.LocalProtocolError(type(failed).__name__) from None
        except (aiohttp.ClientError, OSError) as failed:
            reason = f"the connection to {_where(request)} broke off before the whole answer was there"
            raise httpx2.ReadError(f"{reason} ({type(failed).__name__})") from None
        handed_on = [(name, value) for name, value in answer.headers.items() if name.lower() in _HANDED_ON]
        return httpx2.Response(answer.status, headers=handed_on, content=body)

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=CONNECT_SECONDS_MAX
                ),  # a call's deadline is around it all
                trust_env=False,
                auto_decompress=False,
            )
        return self._session


def provider_client(
    api_key: str, headers: Mapping[str, str], answer_bytes_max: int = ANSWER_BYTES_MAX
) -> httpx2.AsyncClient:
    """A client for an SDK. It also keeps the SDKs' loggers quiet, which write out prompts at their lowest level whoever set
    it: the environment can."""
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    return httpx2.AsyncClient(
        transport=ProviderTransport(api_key, headers, answer_bytes_max), trust_env=False, timeout=None
    )


def _where(request: httpx2.Request) -> str:
    """The server of a request, without what else an address may hold."""
    host = f"[{request.url.host}]" if ":" in request.url.host else request.url.host
    return f"{request.url.scheme}://{host}:{request.url.port or PORTS[request.url.scheme]}"


def _why(failed: aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError) -> str:
    """Why there is no connection, and what to look at."""
    match failed:
        case aiohttp.ConnectionTimeoutError():
            return f"no connection within {CONNECT_SECONDS_MAX:g} seconds; is the network open, and the address right?"
        case aiohttp.ClientConnectorDNSError():
            return "no such host is found; is the address right, and does this machine find names?"
        case aiohttp.ClientSSLError():
            return "its certificate or its TLS is not as it should be; is the address right?"
        case aiohttp.ClientConnectorError(os_error=ConnectionRefusedError()):
            return "it takes no connections there; does the server run, and are its host and port right?"
        case _:
            kind = type(failed.os_error).__name__
            return f"there is no way to it ({kind}); is the network open, and the address right?"


def _in_parts(body: bytes) -> bytes | io.BytesIO:
    """What is long is written in parts, so that it holds nobody up meanwhile."""
    return body if len(body) <= WHOLE_BYTES_MAX else io.BytesIO(body)


def _kind_of(request: httpx2.Request) -> dict[str, str]:
    """An upload has a boundary between its parts, which only who made it knows."""
    kind = request.headers.get("content-type", "")
    return {"Content-Type": kind} if kind.startswith("multipart/form-data;") else {}


async def _bounded(content: aiohttp.StreamReader, bytes_max: int) -> bytes:
    body = bytearray()
    async for chunk in content.iter_chunked(_CHUNK_BYTES):
        body += chunk
        if len(body) > bytes_max:
            break
    return bytes(body)
