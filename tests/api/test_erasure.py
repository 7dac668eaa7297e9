"""Erasing a person over HTTP and by an operator: asked for again, complete, and nothing done for them afterwards."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from bootstrap.now_and_new import new_id, utc_now
from domain.errors import NotFound
from domain.event import Metadata
from domain.user import UserErased
from tests.api.people import PASSWORD, Installation, Person

CONTEXT = Metadata(correlation_id=new_id(), actor="operator:root")

_KEPT = """
select 'credential', count(*) from credential where user_id = %(id)s
union all select 'session', count(*) from session where user_id = %(id)s
union all select 'schedule', count(*) from schedule where owner_id = %(id)s
union all select 'evaluation_request', count(*) from evaluation_request where owner_id = %(id)s
union all select 'command_receipt', count(*) from command_receipt where owner_id = %(id)s
union all select 'reservation', count(*) from reservation
    where stream_id = %(id)s or scope like %(scope)s
    or stream_id in (select stream_id from event where owner_id = %(id)s)
union all select 'snapshot', count(*) from snapshot where owner_id = %(id)s
"""


async def kept(installation: Installation, user_id: UUID) -> dict[str, Any]:
    async with installation.parts.pool.connection() as connection:
        rows = await connection.execute(_KEPT, {"id": user_id, "scope": f"%{user_id}%"})
        return {str(table): count for table, count in await rows.fetchall() if count}


async def test_a_person_erases_themselves_and_nothing_is_kept_of_them(installation: Installation, ada: Person) -> None:
    monitor = await ada.monitor(name="Kettle")
    action = await ada.action(name="Mail me", to=[ada.email])
    await ada.trigger(monitor, action)
    await ada.gets("POST", f"/monitors/{monitor['id']}/evaluate", expect=202, headers={"Idempotency-Key": "k1"})
    login = {"email": ada.email, "password": PASSWORD}
    pair = (await installation.nobody("POST", "/auth/login", login)).json()["data"]
    assert set(await kept(installation, ada.user_id)) >= {"credential", "session", "schedule", "reservation"}

    await ada.gets("DELETE", "/me", {"password": PASSWORD}, expect=204)

    assert await kept(installation, ada.user_id) == {}
    for method, path, body in (
        ("GET", "/me", None),
        ("GET", "/monitors", None),
        ("POST", f"/monitors/{monitor['id']}/resume", None),
        ("POST", "/actions", {"type": "email"}),
        ("DELETE", "/me", {"password": PASSWORD}),
    ):
        error = await ada.is_refused(method, path, body, status=401)
        assert error["code"] == "UNAUTHENTICATED"
    refresh = await installation.nobody("POST", "/auth/refresh", {"refresh_token": pair["refresh_token"]})
    assert (refresh.status_code, refresh.json()["error"]["code"]) == (401, "SESSION_INVALID")
    again = await installation.nobody("POST", "/auth/login", login)
    assert (again.status_code, again.json()["error"]["code"]) == (401, "INVALID_CREDENTIALS")


async def test_without_the_password_nobody_is_erased(ada: Person) -> None:
    error = await ada.is_refused("DELETE", "/me", {"password": "a wrong password"}, status=401)
    assert error["code"] == "INVALID_CREDENTIALS"
    await ada.is_refused("DELETE", "/me", {}, status=400)
    await ada.is_refused("DELETE", "/me", status=400)
    assert (await ada.gets("GET", "/me"))["email"] == ada.email


async def test_others_keep_everything(installation: Installation, ada: Person, ben: Person) -> None:
    monitor = await ben.monitor(name="Ben's kettle")
    before = await kept(installation, ben.user_id)
    await ada.gets("DELETE", "/me", {"password": PASSWORD}, expect=204)
    assert await kept(installation, ben.user_id) == before
    assert (await ben.gets("GET", f"/monitors/{monitor['id']}"))["name"] == "Ben's kettle"
    assert (await ben.gets("GET", "/me"))["email"] == ben.email


async def test_the_address_can_be_registered_anew_by_somebody_else(installation: Installation, ada: Person) -> None:
    await ada.gets("DELETE", "/me", {"password": PASSWORD}, expect=204)
    user_id = await installation.identity.register(
        email=ada.email, password=PASSWORD, name="Another Ada", timezone="UTC", correlation_id=new_id()
    )
    assert user_id != ada.user_id
    await installation.can_be_read(user_id)


async def test_an_operator_erases_and_it_is_recorded_who(installation: Installation, ada: Person) -> None:
    assert await installation.identity.erase(ada.user_id, context=CONTEXT)
    assert not await installation.identity.erase(ada.user_id, context=CONTEXT)
    last = (await installation.parts.store.load(ada.user_id))[-1]
    assert isinstance(last.event, UserErased)
    assert last.metadata.actor == "operator:root"


async def test_only_people_can_be_erased(installation: Installation, ada: Person) -> None:
    monitor = await ada.monitor()
    for nobody in (new_id(), UUID(monitor["id"])):
        with pytest.raises(NotFound):
            await installation.identity.erase(nobody, context=CONTEXT)


async def test_of_erasures_at_the_same_moment_one_is_recorded_and_none_fails(
    installation: Installation, ada: Person
) -> None:
    outcomes = await asyncio.gather(*(installation.identity.erase(ada.user_id, context=CONTEXT) for _ in range(5)))
    assert sorted(outcomes) == [False] * 4 + [True]
    events = [stored.event for stored in await installation.parts.store.load(ada.user_id)]
    assert sum(isinstance(event, UserErased) for event in events) == 1


async def test_commands_on_their_way_while_a_person_is_erased_leave_nothing(
    installation: Installation, ada: Person
) -> None:
    commands = [ada.asks("POST", "/actions", {"type": "email", "name": f"a{i}"}) for i in range(4)]
    commands += [ada.asks("DELETE", "/me", {"password": PASSWORD})]
    commands += [ada.asks("POST", "/actions", {"type": "email"}, headers={"Idempotency-Key": f"{i}"}) for i in range(4)]
    statuses = [response.status_code for response in await asyncio.gather(*commands)]
    assert 204 in statuses
    assert set(statuses) <= {201, 204, 401, 404}
    assert await kept(installation, ada.user_id) == {}


async def test_the_read_tables_follow(installation: Installation, ada: Person) -> None:
    monitor = await ada.monitor(name="Unmistakable kettle")
    await ada.gets("DELETE", "/me", {"password": PASSWORD}, expect=204)
    await installation.can_be_read(ada.user_id)
    async with installation.parts.pool.connection() as connection:
        user = await (
            await connection.execute("select email, name, verified from users where id = %s", (ada.user_id,))
        ).fetchone()
        row = await (
            await connection.execute(
                "select name, status, deleted_at is null from monitors where id = %s", (monitor["id"],)
            )
        ).fetchone()
    assert user == (f"{ada.user_id}@erased.invalid", "erased", False)
    assert row == ("erased", "archived", False)


async def test_a_link_mailed_before_the_erasure_proves_nothing_any_more(installation: Installation) -> None:
    user_id = await installation.identity.register(
        email="late@example.org", password=PASSWORD, name="Late", timezone="UTC", correlation_id=new_id()
    )
    token = await installation.link_token(user_id)
    await installation.identity.erase(user_id, context=CONTEXT)
    refused = await installation.nobody("POST", "/auth/verify-email", {"token": token})
    assert refused.status_code == 400
    issued, _ = installation.parts.tokens.issue(user_id, frozenset({"member"}), now=utc_now())
    answer = await installation.client.get("/api/v1/me", headers={"Authorization": f"Bearer {issued}"})
    assert answer.status_code == 401
