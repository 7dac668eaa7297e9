"""GET /api/v1/me."""

from collections.abc import Callable
from uuid import UUID

import httpx

from domain.user import EmailVerified, RoleGranted
from tests.conftest import AT
from tests.read_api.conftest import Reader
from tests.read_api.world import World

As = Callable[[UUID], Reader]


async def test_a_person_reads_their_own_account_and_nothing_secret(world: World, reader: As) -> None:
    ada = await world.person()
    await world.append(ada, ada, EmailVerified(email="x", verified_at=AT), RoleGranted(role="auditor", granted_at=AT))
    await world.project()
    assert await reader(ada).data("/me") == {
        "id": str(ada),
        "email": f"ada-{ada.hex}@example.org",
        "name": "Ada",
        "timezone": "Europe/Berlin",
        "verified": True,
        "roles": ["auditor", "member"],
        "created_at": "2026-01-01T00:00:00Z",
    }


async def test_without_a_token_nothing_is_read(client: httpx.AsyncClient) -> None:
    response = await client.get("/api/v1/me")
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "UNAUTHENTICATED"


async def test_a_person_who_is_not_projected_yet_is_not_found(world: World, reader: As) -> None:
    ada = await world.person()
    await reader(ada).refusal("/me", 404)
    await world.project()
    assert (await reader(ada).data("/me"))["verified"] is False
