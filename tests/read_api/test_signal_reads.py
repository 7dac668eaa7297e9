"""GET /api/v1/signal-sources and their signals."""

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from uuid_utils.compat import uuid7

from adapters.postgres_pool import Pool
from domain.signal_source import (
    SignalSecretRotated,
    SignalSourceDeleted,
    SignalSourceRevised,
)
from domain.user import UserErased
from read_api.signals import _ORDERS
from tests.conftest import AT
from tests.read_api.conftest import Reader
from tests.read_api.world import World, minutes

As = Callable[[UUID], Reader]


async def ago(pool: Pool, **of: float) -> datetime:
    """So long before now, by the database's clock, which health is judged by."""
    async with pool.connection() as connection:
        row = await (await connection.execute("select now()")).fetchone()
    assert row is not None
    moment: datetime = row[0] - timedelta(**of)
    return moment


async def test_a_source_is_read_with_how_it_does(world: World, reader: As, pool: Pool) -> None:
    ada = await world.person()
    made = await world.signal_source(ada, silent_after_seconds=3 * 86_400)
    await world.project()
    response = await reader(ada).answer(f"/signal-sources/{made}")
    shape = response.json()["data"]
    assert response.headers["ETag"] == '"1"'
    del shape["updated_at"]
    assert shape == {
        "id": str(made),
        "name": "Greenhouse",
        "url": f"https://vigil.example/api/v1/signals/{made}",
        "schema": {"type": "object"},
        "silent_after": "P3D",
        "status": "never",
        "last_received_at": None,
        "silent_for": None,
        "received": 0,
        "refused": 0,
        "last_refused_at": None,
        "last_refusal": None,
        "older_secret_valid_until": None,
        "version": 1,
        "created_at": "2026-01-01T00:00:00Z",
    }


async def test_a_source_without_a_signal_for_too_long_is_silent(world: World, reader: As, pool: Pool) -> None:
    ada = await world.person()
    terms = (("strict", 86_400), ("patient", 5 * 86_400), ("careless", None))
    strict, patient, careless = [
        await world.signal_source(ada, name, silent_after_seconds=after) for name, after in terms
    ]
    last = await ago(pool, days=3, minutes=1)
    for made in (strict, patient, careless):
        await world.signal(ada, made, "1", last)
        await world.signal(ada, made, "late", last - timedelta(days=1))
    await world.project()
    found = {item["name"]: item for item in await reader(ada).data("/signal-sources")}
    assert {name: item["status"] for name, item in found.items()} == {
        "strict": "silent",
        "patient": "live",
        "careless": "live",
    }
    assert found["strict"]["silent_for"].startswith("P3DT1M")
    assert found["strict"]["received"] == 2
    await world.signal(ada, strict, "2", await ago(pool, seconds=1))
    await world.project()
    assert (await reader(ada).data(f"/signal-sources/{strict}"))["status"] == "live"


async def test_what_was_refused_is_told_while_the_source_is_kept(world: World, reader: As, pool: Pool) -> None:
    ada = await world.person()
    made = await world.signal_source(ada)
    await world.project()
    async with pool.connection() as connection:
        await connection.execute(
            "insert into signal_source (id, owner_id, refused_count, last_refused_at, last_refusal) values (%s, %s, 2, %s, %s)",
            (made, ada, AT, "type at /temperature"),
        )
    found = await reader(ada).data(f"/signal-sources/{made}")
    assert (found["refused"], found["last_refused_at"], found["last_refusal"]) == (
        2,
        "2026-01-01T00:00:00Z",
        "type at /temperature",
    )


async def test_a_revised_source_and_its_older_secret_are_told_as_long_as_that_is_good(
    world: World, reader: As, pool: Pool
) -> None:
    ada = await world.person()
    made = await world.signal_source(ada)
    ends = await ago(pool, hours=-1)
    await world.append(
        ada,
        made,
        SignalSourceRevised(name="Glasshouse", revised_at=AT),
        SignalSecretRotated(secret_id=uuid7(), overlap_ends_at=ends, rotated_at=AT),
    )
    await world.project()
    found = await reader(ada).data(f"/signal-sources/{made}")
    assert (found["name"], found["schema"], found["version"]) == ("Glasshouse", None, 3)
    assert datetime.fromisoformat(found["older_secret_valid_until"]) == ends
    over = SignalSecretRotated(secret_id=uuid7(), overlap_ends_at=await ago(pool, seconds=1), rotated_at=AT)
    await world.append(ada, made, over)
    await world.project()
    assert (await reader(ada).data(f"/signal-sources/{made}"))["older_secret_valid_until"] is None


async def test_a_deleted_source_is_neither_read_nor_listed(world: World, reader: As) -> None:
    ada = await world.person()
    kept, gone = await world.signal_source(ada), await world.signal_source(ada)
    await world.signal(ada, gone, "1", AT)
    await world.append(ada, gone, SignalSourceDeleted(deleted_at=AT))
    await world.project()
    await reader(ada).refusal(f"/signal-sources/{gone}", 404)
    await reader(ada).refusal(f"/signal-sources/{gone}/signals", 404)
    page = await reader(ada).get("/signal-sources")
    assert ([item["id"] for item in page["data"]], page["pagination"]["total"]) == ([str(kept)], 1)


async def test_sources_are_sorted_as_asked_for(world: World, reader: As) -> None:
    ada = await world.person()
    b, a = str(await world.signal_source(ada, "b")), str(await world.signal_source(ada, "a"))
    await world.project()
    assert await reader(ada).ids("/signal-sources", sort="name:asc", limit=1) == [a]
    for order in _ORDERS:
        assert set(await reader(ada).ids("/signal-sources", sort=order)) == {a, b}
    assert await reader(ada).refused_field("/signal-sources", sort="schema:asc") == "sort"


async def test_the_history_goes_by_cursor_and_gives_bodies_back_as_they_came(world: World, reader: As) -> None:
    ada, ben = await world.person("Ada"), await world.person("Ben")
    made, other = await world.signal_source(ada), await world.signal_source(ada)
    came = [str(await world.signal(ada, made, str(n), minutes(n))) for n in range(5)]
    await world.signal(ada, other, "0", AT)
    await world.project()
    path = f"/signal-sources/{made}/signals"
    first = await reader(ada).get(path, limit=2)
    assert [item["id"] for item in first["data"]] == [came[4], came[3]]
    rest = await reader(ada).get(path, cursor=first["pagination"]["next_cursor"])
    assert [item["id"] for item in rest["data"]] == [came[2], came[1], came[0]]
    assert not rest["pagination"]["has_more"]
    assert '"body":{"a": 1.10}' in (await reader(ada).answer(path)).text
    assert first["data"][0]["webhook_id"] == "4"
    assert len(first["data"][0]["evaluations"]) == 1
    await reader(ben).refusal(path, 404)
    await reader(ben).refusal(f"/signal-sources/{made}", 404)
    assert await reader(ben).data("/signal-sources") == []
    assert await reader(ada).refused_field(path, cursor="abc") == "cursor"


async def test_after_an_erasure_nothing_that_was_sent_can_be_read(world: World, reader: As, pool: Pool) -> None:
    ada = await world.person()
    made = await world.signal_source(ada, "Grandmother's house")
    await world.signal(ada, made, "her nurse", AT, '"in the garden"')
    await world.append(ada, ada, UserErased(erased_at=AT))
    await world.project()
    async with pool.connection() as connection:
        rows = await (
            await connection.execute(
                "select s.name, s.schema, s.deleted_at is not null, t.webhook_id, t.body"
                " from signal_sources s join signals t on t.source_id = s.id"
            )
        ).fetchall()
    assert rows == [("erased", "erased", True, "erased", "erased")]
    assert await reader(ada).data("/signal-sources") == []
