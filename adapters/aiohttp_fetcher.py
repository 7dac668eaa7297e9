"""Reads a source over HTTP: one bounded, conditional GET whose every ending is a typed outcome."""

import asyncio
import hashlib
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from adapters.answer_freshness import fresh_until, worth_keeping
from adapters.challenge_pages import asks_for_a_human
from adapters.content_decoding import BodyDecoder, NotDecodable, TooLarge
from adapters.host_pacing import HostPacing
from adapters.network_guard import AddressRefused, GuardedResolver, NetworkGuard
from adapters.request_headers import check_headers, without_secrets
from domain.errors import InvalidInput
from domain.evidence import Document, FetchOutcome, Validators
from domain.source import FeedSource, HttpSource, WebSource

REDIRECTS_MAX = 5
VALIDATOR_CHARS_MAX = 1024
_ASKS_FOR_A_HUMAN = "The server shows a page that asks for a human instead of its content."
_PIECE_BYTES = 64 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_READABLE = re.compile(
    r"text/.+|.+\+(json|xml)|application/(json|xml|csv|x-ndjson|ndjson|yaml|javascript|vnd\.ms-excel|octet-stream|pdf)"
)


class _Ended(Exception):
    """Reading ended early, for a reason worth telling."""

    def __init__(self, outcome: FetchOutcome, message: str) -> None:
        self.outcome, self.message = outcome, message
        super().__init__(message)


@dataclass(slots=True)
class _Progress:
    """How far reading came, so that a failure can say where it happened."""

    url: str
    status: int | None = None
    redirected: bool = False


class AiohttpFetcher:
    """Fetches sources through one shared session whose connections go to checked addresses only.

    `deadline_seconds` bounds one fetch as a whole, redirects and body included; waiting for one of the
    `connections_max` places is not counted. `body_bytes_max` bounds the body both as sent and as decoded. With `pacing`
    each request waits for its host's turn.
    """

    def __init__(
        self,
        guard: NetworkGuard,
        *,
        now: Callable[[], datetime],
        user_agent: str,
        deadline_seconds: float = 20,
        body_bytes_max: int = 5 * 1024 * 1024,
        connections_max: int = 100,
        pacing: HostPacing | None = None,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._guard = guard
        self._now = now
        self._user_agent = user_agent
        self._deadline_seconds = deadline_seconds
        self._body_bytes_max = body_bytes_max
        self._connections_max = connections_max
        self._pacing = pacing
        self._resolver = resolver
        self._places = asyncio.Semaphore(connections_max)
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, source: WebSource, known: Validators | None) -> Document:
        """What `source` answers now; with `known` the answer may be `not_modified`.

        Whatever a server does ends in a `Document` with an outcome and, unless it was read, a message for people. Raises
        `Postponed` when a host on the way is not to be asked now.
        """
        progress = _Progress(source.url)
        try:
            async with self._places, asyncio.timeout(self._deadline_seconds):
                return await self._follow(source, known, progress)
        except _Ended as ended:
            outcome, message = ended.outcome, ended.message
        except AddressRefused as refused:
            outcome, message = FetchOutcome.REFUSED, refused.message
        except InvalidInput as invalid:
            outcome, message = FetchOutcome.REFUSED, f"The source's headers cannot be sent: {invalid.message}."
        except TimeoutError:
            outcome = FetchOutcome.SLOW
            message = f"The server did not answer completely within {self._deadline_seconds:g} seconds."
        except TooLarge:
            outcome = FetchOutcome.TOO_LARGE
            message = f"The answer is larger than {self._body_bytes_max} bytes; name a smaller page or an API."
        except NotDecodable:
            outcome, message = FetchOutcome.WRONG_TYPE, "The answer is compressed in a way that cannot be undone."
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as failed:
            outcome, message = _failure(failed)
        return Document(
            url=progress.url, outcome=outcome, status=progress.status, message=message, fetched_at=self._now()
        )

    async def close(self) -> None:
        """Close the session and its connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _follow(self, source: WebSource, known: Validators | None, progress: _Progress) -> Document:
        own = dict(source.headers) if isinstance(source, HttpSource) else {}
        check_headers(own, "headers")
        self._guard.check_url(source.url)
        url = URL(source.url).with_fragment(None)
        for _ in range(REDIRECTS_MAX + 1):
            progress.url = str(url)
            if self._pacing is not None:
                await self._pacing.admit(url, own)
            headers = self._headers(source, own, known)
            async with self._opened().get(
                url,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            ) as response:
                progress.status = response.status
                if self._pacing is not None:
                    await self._pacing.heard(url, own, response.status, response.headers.get("Retry-After"))
                if response.status not in _REDIRECTS or "Location" not in response.headers:
                    document = await self._read(response, known, progress)
                    # Nobody says how long a redirect stays, nor what an answer to other headers would be.
                    plainly = not own and not progress.redirected
                    return document if plainly else msgspec.structs.replace(document, fresh_until=None)
                target = _target(url, response.headers["Location"])
                self._guard.check_url(target)
            if target.origin() != url.origin():
                own = without_secrets(own)
            url, progress.redirected = target, True
        raise _Ended(FetchOutcome.REFUSED, f"The server redirects more than {REDIRECTS_MAX} times.")

    def _headers(self, source: WebSource, own: Mapping[str, str], known: Validators | None) -> dict[str, str]:
        feeds = "application/rss+xml, application/atom+xml, application/xml;q=0.9, text/xml;q=0.9, */*;q=0.5"
        headers = {
            "User-Agent": self._user_agent,
            "Accept": feeds if isinstance(source, FeedSource) else "*/*",
            "Accept-Encoding": "gzip, deflate",
        }
        if known is not None and known.etag:
            headers["If-None-Match"] = known.etag
        if known is not None and known.last_modified:
            headers["If-Modified-Since"] = known.last_modified
        replaced = {name.lower() for name in own}
        return {name: value for name, value in headers.items() if name.lower() not in replaced} | dict(own)

    async def _read(self, response: aiohttp.ClientResponse, known: Validators | None, progress: _Progress) -> Document:
        validators = Validators(
            etag=_validator(response.headers.get("ETag")),
            last_modified=_validator(response.headers.get("Last-Modified")),
        )
        if response.status == 304 and known is not None:
            kept = Validators(
                etag=validators.etag or known.etag, last_modified=validators.last_modified or known.last_modified
            )
            return Document(
                url=progress.url,
                outcome=FetchOutcome.NOT_MODIFIED,
                status=304,
                validators=kept,
                fetched_at=self._now(),
                fresh_until=fresh_until(response.headers, now=self._now()),
            )
        if asks_for_a_human(response.headers, await self._told_with_failure(response)):
            raise _Ended(FetchOutcome.BLOCKED, _ASKS_FOR_A_HUMAN)
        _check_answer(response)
        content_type = response.content_type if "Content-Type" in response.headers else ""
        if content_type and not _READABLE.fullmatch(content_type):
            raise _Ended(FetchOutcome.WRONG_TYPE, f"The answer is {content_type}, which holds no text to read.")
        body = await self._body(response)
        if b"\0" in body[:1024] and not body.startswith((b"%PDF-", b"\xff\xfe", b"\xfe\xff")):
            raise _Ended(FetchOutcome.WRONG_TYPE, "The answer is binary data, which holds no text to read.")
        if asks_for_a_human(response.headers, body):
            raise _Ended(FetchOutcome.BLOCKED, _ASKS_FOR_A_HUMAN)
        return Document(
            url=progress.url,
            outcome=FetchOutcome.OK,
            status=response.status,
            content_type=content_type,
            charset=response.charset,
            body=body,
            hash=hashlib.sha256(body).hexdigest(),
            validators=validators,
            fetched_at=self._now(),
            headers=worth_keeping(response.headers),
            fresh_until=fresh_until(response.headers, now=self._now()),
        )

    async def _told_with_failure(self, response: aiohttp.ClientResponse) -> bytes:
        """The page that comes with a server's failure: some challenges are sent as one (503)."""
        if response.status < 500:
            return b""
        try:
            return await self._body(response)
        except (TooLarge, NotDecodable):
            return b""

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        if (response.content_length or 0) > self._body_bytes_max:
            raise TooLarge
        decoder = BodyDecoder(response.headers.get("Content-Encoding", ""), self._body_bytes_max)
        wire_bytes = 0
        async for piece in response.content.iter_chunked(_PIECE_BYTES):
            wire_bytes += len(piece)
            if wire_bytes > self._body_bytes_max:
                raise TooLarge
            decoder.feed(piece)
        return decoder.finish()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=GuardedResolver(self._guard, self._resolver),
                    socket_factory=self._guard.open_socket,
                    limit=self._connections_max,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,  # a proxy from the environment would resolve names past the guard
                auto_decompress=False,  # BodyDecoder counts while it inflates
                max_field_size=32 * 1024,  # content security policies outgrow the default of 8 KiB
            )
        return self._session


def _target(url: URL, location: str) -> URL:
    """Where a redirect leads (RFC 9110, section 10.2.2), refusing a fall from https to http."""
    try:
        target = url.join(URL(location)).with_fragment(None)
    except ValueError as broken:
        raise _Ended(FetchOutcome.SERVER_ERROR, "The server redirects to something that is no address.") from broken
    if url.scheme == "https" and target.scheme != "https":
        raise _Ended(FetchOutcome.REFUSED, "The server redirects from https to an address without encryption.")
    return target


def _check_answer(response: aiohttp.ClientResponse) -> None:
    """Let an answer pass that carries content; a block is never mistaken for a change."""
    status, headers = response.status, response.headers
    if status in {401, 402, 403, 407, 451}:
        raise _Ended(
            FetchOutcome.BLOCKED, f"The server answers {status}: it does not let Vigil read this without permission."
        )
    if status == 429:
        later = headers.get("Retry-After", "")[:40]
        when = f"; it asks to come back after {later}" if later.isprintable() and later else ""
        raise _Ended(FetchOutcome.BLOCKED, f"The server answers 429: it was asked too often{when}.")
    if status in {404, 410}:
        raise _Ended(FetchOutcome.GONE, f"The server answers {status}: there is nothing at this address.")
    if status in {406, 415}:
        raise _Ended(FetchOutcome.WRONG_TYPE, f"The server answers {status}: it has no form of this Vigil can read.")
    if 400 <= status < 500:
        raise _Ended(FetchOutcome.BLOCKED, f"The server answers {status}: it does not accept this request.")
    if not 200 <= status < 300 or status == 206:
        raise _Ended(FetchOutcome.SERVER_ERROR, f"The server answers {status} instead of content.")


def _failure(failed: Exception) -> tuple[FetchOutcome, str]:
    """The outcome and message of a connection that failed."""
    if isinstance(failed, aiohttp.ClientConnectorDNSError):
        return FetchOutcome.UNREACHABLE, "The host's name is not known to the name servers."
    if isinstance(failed, aiohttp.ClientConnectorCertificateError | ssl.CertificateError):
        return FetchOutcome.UNREACHABLE, "The server's certificate is not valid for this address."
    if isinstance(failed, aiohttp.ClientConnectorError) and isinstance(failed.os_error, PermissionError):
        return FetchOutcome.REFUSED, str(failed.os_error)
    if isinstance(failed, aiohttp.InvalidURL):
        return FetchOutcome.REFUSED, "This is not a web address."
    if isinstance(failed, aiohttp.ClientConnectorError):
        return FetchOutcome.UNREACHABLE, "No connection to the server could be made."
    return FetchOutcome.UNREACHABLE, f"The connection broke off or the answer is no HTTP ({type(failed).__name__})."


def _validator(value: str | None) -> str | None:
    """A validator that can be sent back as it came."""
    fits = value and len(value) <= VALIDATOR_CHARS_MAX and value.isascii() and value.isprintable()
    return value if fits else None
