"""Speaking to a Vigil over HTTP, as the person who logged in."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from adapters.data_dir import read_endpoints
from bootstrap.settings import EndpointsUnknown, Settings
from cli.connection import configured
from cli.kept_sessions import KeptSessions, Session
from cli.output import warn
from domain.errors import InvalidInput, RuleViolation

ANSWER_SECONDS_MAX = 60
"""Above the longest that the API takes by itself, for a preview."""
PAGE = 100

Json = dict[str, Any]


class Refused(RuleViolation):
    """The API refused what was asked."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Which Vigil, and by which token, as the options say; None: as the settings or the last login do."""

    url: str | None = None
    token: str | None = None


class Api:
    """The API of one Vigil."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self.url = session, url
        self._headers: dict[str, str] = {}

    def speak_as(self, token: str) -> None:
        """Send this access token from now on."""
        self._headers = {"Authorization": f"Bearer {token}"}

    async def call(self, method: str, path: str, body: object = None, query: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401  JSON
        """The `data` of the answer, None when it has no body. Raises `InvalidInput` for what the API calls malformed,
        `Refused` for every other refusal and for what is no Vigil."""
        answer = await self._answer(method, path, body, query)
        return None if answer is None else self._part(answer, "data")

    async def text(self, path: str) -> str:
        """A document that has no envelope, as it is."""
        return json.dumps(await self._answer("GET", path), ensure_ascii=False, indent=2)

    async def all(self, path: str, query: Mapping[str, str]) -> list[Json]:
        """Everything in a list, page after page."""
        found: list[Json] = []
        while True:
            window = {**query, "limit": str(PAGE), "offset": str(len(found))}
            answer = await self._answer("GET", path, query=window) or {}
            page = self._part(answer, "data")
            found += page
            if not page or not self._part(answer, "pagination")["has_more"]:
                return found

    async def _answer(
        self, method: str, path: str, body: object = None, query: Mapping[str, str] | None = None
    ) -> Json | None:
        url = f"{self.url}/api/v1{path}"
        try:
            # A redirect would take the token elsewhere.
            async with self._session.request(
                method, url, json=body, params=query, headers=self._headers, allow_redirects=False
            ) as response:
                status, content = response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Refused(f"no Vigil answers at {self.url} ({_reason(error)}); is it up, and --url right?") from None
        if status == 204:
            return None
        try:
            answer: Json = json.loads(content)
            if status < 300:
                return answer
            told = _told(answer["error"])
        except (ValueError, KeyError, TypeError):
            raise self._no_vigil() from None
        raise InvalidInput(told) if status == 400 else Refused(told)

    def _part(self, answer: Json, name: str) -> Any:  # noqa: ANN401  JSON
        try:
            return answer[name]
        except (KeyError, TypeError):
            raise self._no_vigil() from None

    def _no_vigil(self) -> Refused:
        return Refused(f"what answers at {self.url} is not Vigil; is --url right?")


def _told(refusal: Json) -> str:
    """The message, and below it each field with what is wrong with it, unless that is the message itself."""
    details = [detail for detail in refusal["details"] if detail["message"] != refusal["message"]]
    if not details and len(refusal["details"]) == 1 and refusal["details"][0]["field"]:
        return f"{refusal['details'][0]['field']}: {refusal['message']}"
    lines = [f"  {detail['field'] or 'body'}: {detail['message']}" for detail in details]
    return "\n".join([str(refusal["message"]), *lines])


def _reason(error: Exception) -> str:
    cause = getattr(error, "os_error", None) or error
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__


@asynccontextmanager
async def reached(settings: Settings, reach: Reach) -> AsyncIterator[tuple[Api, KeptSessions]]:
    """The API without a token, and the sessions that are kept. Raises `EndpointsUnknown`, `InvalidInput`."""
    kept = KeptSessions(settings.session_file)
    url = _address(settings, reach, kept)
    if urlsplit(url).scheme == "http" and not _is_here(urlsplit(url).hostname or ""):
        warn(f"{url} is not encrypted: others on the way can read what is sent; use https")
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS_MAX)) as session:
        yield Api(session, url), kept


@asynccontextmanager
async def logged_in(reach: Reach) -> AsyncIterator[Api]:
    """The API as the person whose token is given, configured or kept. Raises what `reached` does, and `Refused`."""
    settings = configured()
    async with reached(settings, reach) as (api, kept):
        given = reach.token or settings.token
        if given is not None:
            api.speak_as(given)
            yield api
            return
        with kept.alone():
            session = kept.of(api.url)
            if session is None:
                raise Refused(f"nobody is logged in at {api.url}; `vigil login` does it, or set VIGIL_TOKEN")
            if not session.lasts(datetime.now(UTC)):
                session = await _refreshed(api, session)
                kept.keep(api.url, session)
        api.speak_as(session.access_token)
        yield api


def session_of(tokens: Json) -> Session:
    """The session that a login or a refresh answered."""
    return Session(
        access_token=tokens["access_token"],
        expires_at=datetime.now(UTC) + timedelta(seconds=tokens["expires_in"]),
        refresh_token=tokens["refresh_token"],
    )


async def _refreshed(api: Api, session: Session) -> Session:
    return session_of(await api.call("POST", "/auth/refresh", {"refresh_token": session.refresh_token}))


def _address(settings: Settings, reach: Reach, kept: KeptSessions) -> str:
    """As given, as configured, of the `vigil up` in the data folder, or of the last login."""
    url = reach.url or settings.public_url or read_endpoints(settings.data_dir).get("api") or kept.last
    if url is None:
        raise EndpointsUnknown(f"no Vigil runs in {settings.data_dir}; say --url, or set VIGIL_PUBLIC_URL")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InvalidInput(f"{url!r} is not the address of a Vigil; write for example http://127.0.0.1:8000")
    return url.rstrip("/")


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
