"""The read API as an app of its own, in front of a fresh database."""

from collections.abc import AsyncIterator, Callable
from typing import Any, cast
from uuid import UUID

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from litestar import Litestar, Router
from litestar.di import Provide
from litestar.middleware import DefineMiddleware
from uuid_utils.compat import uuid7

from adapters.cel_condition import CelConditionLanguage
from adapters.cel_explaining import CelExplanations
from adapters.log_signatures import PublicKeys, SigningKey
from adapters.postgres_audit import PostgresLogVerifier
from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_pool import Pool
from commands.caller import Principal, TokenInvalid
from commands.http.bearer import BearerAuthentication
from commands.http.failures import EXCEPTION_HANDLERS
from commands.http.request import BodyKeepingRequest, RequestIds
from commands.signal_shapes import SignalAddresses
from domain.budget import Budgets
from read_api.actions import ActionReads, ActionViews
from read_api.audit import AuditReads
from read_api.audit_log import AuditLog
from read_api.evaluations import EvaluationReads, EvaluationViews
from read_api.explanations import Explanations
from read_api.facts import FactReads, FactViews
from read_api.freshness import fresh_reads
from read_api.model_usage import ModelUsageReads, ModelUsageViews
from read_api.monitors import MonitorReads, MonitorViews
from read_api.notifications import NotificationReads, NotificationViews
from read_api.past_monitors import PastMonitors
from read_api.signals import SignalReads, SignalSourceViews
from read_api.triggers import TriggerReads, TriggerViews
from read_api.users import UserReads, UserViews
from tests.read_api.world import World, minutes

FRESH_WAIT_SECONDS = 0.3
BUDGETS = Budgets(person_day_micros=500_000)
SIGNING = SigningKey(Ed25519PrivateKey.from_private_bytes(b"a key that signs heads in tests!"))


class IdTokens:
    """Takes a person's id for their token, with another role behind it if they have one: `<id>+auditor`."""

    def read(self, token: str) -> Principal:
        user_id, _, role = token.partition("+")
        try:
            return Principal(user_id=UUID(user_id), roles=frozenset({"member", role} - {""}))
        except ValueError:
            raise TokenInvalid from None


async def nobody_is_erased(_user_id: UUID) -> bool:
    return False


def given(value: Any) -> Provide:  # noqa: ANN401  whatever is injected
    return Provide(lambda: value, sync_to_thread=False, use_cache=False)


@pytest.fixture
def world(pool: Pool) -> World:
    return World(pool)


@pytest.fixture
def app(pool: Pool) -> Litestar:
    fresh = fresh_reads(pool, wait_seconds=FRESH_WAIT_SECONDS)
    reads = [
        MonitorReads,
        EvaluationReads,
        FactReads,
        ActionReads,
        TriggerReads,
        SignalReads,
        NotificationReads,
        UserReads,
        AuditReads,
        ModelUsageReads,
    ]
    store = PostgresEventStore(pool, new_id=uuid7)
    return Litestar(
        route_handlers=[Router(path="/api/v1", route_handlers=reads, guards=[fresh])],
        middleware=[
            DefineMiddleware(RequestIds, new_id=uuid7),
            DefineMiddleware(BearerAuthentication, tokens=IdTokens(), is_erased=nobody_is_erased),
        ],
        dependencies={
            "monitor_views": given(MonitorViews(pool)),
            "evaluation_views": given(EvaluationViews(pool)),
            "explanations": given(Explanations(pool, CelExplanations(CelConditionLanguage()))),
            "fact_views": given(FactViews(pool)),
            "action_views": given(ActionViews(pool)),
            "trigger_views": given(TriggerViews(pool)),
            "signal_source_views": given(SignalSourceViews(pool, SignalAddresses("https://vigil.example/"))),
            "notification_views": given(NotificationViews(pool)),
            "user_views": given(UserViews(pool)),
            "model_usage_views": given(ModelUsageViews(pool, BUDGETS, now=lambda: minutes(720))),
            "past_monitors": given(PastMonitors(pool, store)),
            "audit_log": given(AuditLog(pool, store)),
            "log_verifier": given(PostgresLogVerifier(pool, lambda: PublicKeys([SIGNING.public]))),
        },
        exception_handlers=EXCEPTION_HANDLERS,
        request_class=BodyKeepingRequest,
    )


@pytest.fixture
async def client(app: Litestar) -> AsyncIterator[httpx.AsyncClient]:
    """Speaks to the app in the test's own event loop: Litestar's client runs it in another one, which a pool that was
    opened here cannot serve."""
    transport = httpx.ASGITransport(app=cast("Any", app), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://vigil.test") as opened:
        yield opened


class Reader:
    """A person asking the API."""

    def __init__(self, client: httpx.AsyncClient, user_id: UUID, *, role: str | None = None) -> None:
        self._client = client
        self._authorization = f"Bearer {user_id}" if role is None else f"Bearer {user_id}+{role}"

    async def answer(self, path: str, *, headers: dict[str, str] | None = None, **parameters: Any) -> Any:  # noqa: ANN401
        """The response to GET /api/v1 `path`; `from_` is sent as `from`."""
        query = {name.rstrip("_"): value for name, value in parameters.items()}
        sent = {"Authorization": self._authorization, **(headers or {})}
        return await self._client.get(f"/api/v1{path}", params=query or None, headers=sent)

    async def get(self, path: str, **parameters: Any) -> Any:  # noqa: ANN401  the parsed body
        response = await self.answer(path, **parameters)
        assert response.status_code == 200, response.text
        return response.json()

    async def data(self, path: str, **parameters: Any) -> Any:  # noqa: ANN401
        return (await self.get(path, **parameters))["data"]

    async def ids(self, path: str, **parameters: object) -> list[str]:
        return [item["id"] for item in await self.data(path, **parameters)]

    async def refusal(self, path: str, status: int, /, **parameters: Any) -> Any:  # noqa: ANN401
        response = await self.answer(path, **parameters)
        assert response.status_code == status, response.text
        return response.json()["error"]

    async def refused_field(self, path: str, **parameters: object) -> str:
        """The field a 400 names."""
        error = await self.refusal(path, 400, **parameters)
        assert error["code"] == "VALIDATION_ERROR"
        return str(error["details"][0]["field"])


@pytest.fixture
def auditor(client: httpx.AsyncClient) -> Reader:
    return Reader(client, uuid7(), role="auditor")


@pytest.fixture
def reader(client: httpx.AsyncClient) -> Callable[[UUID], Reader]:
    return lambda user_id: Reader(client, user_id)
