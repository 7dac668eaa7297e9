"""Reading lists in parts: by cursor while rows come, and cursors that somebody changed."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import InvalidInput
from domain.monitor import State
from read_api.paging import NEWEST, Mark, read_cursor, write_cursor
from tests.read_api.conftest import Reader
from tests.read_api.world import World, minutes, price

As = Callable[[UUID], Reader]

marks = st.builds(Mark, at=st.datetimes(timezones=st.just(UTC)), id=st.uuids())
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/ "


@given(mark=marks, scope=st.text(max_size=40))
@settings(max_examples=60)
def test_a_cursor_gives_back_the_mark_it_was_written_for(mark: Mark, scope: str) -> None:
    assert read_cursor(write_cursor(mark, scope), scope) == mark


@given(mark=marks, place=st.integers(0, 39), character=st.sampled_from(ALPHABET))
@settings(max_examples=150)
def test_a_cursor_with_any_other_character_is_refused(mark: Mark, place: int, character: str) -> None:
    cursor = write_cursor(mark, "list")
    changed = cursor[:place] + character + cursor[place + 1 :]
    if changed == cursor:
        return
    with pytest.raises(InvalidInput) as refused:
        read_cursor(changed, "list")
    assert refused.value.field == "cursor"


@given(text=st.text(max_size=60))
@settings(max_examples=100)
def test_text_that_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        read_cursor(text, "list")


def test_a_cursor_of_another_list_is_refused_and_none_is_the_beginning() -> None:
    cursor = write_cursor(Mark(datetime(2026, 1, 1, tzinfo=UTC), UUID(int=1)), "one")
    with pytest.raises(InvalidInput):
        read_cursor(cursor, "other")
    assert read_cursor(None, "one") == NEWEST


def test_a_cursor_cut_or_lengthened_is_refused() -> None:
    cursor = write_cursor(NEWEST, "list")
    for changed in (cursor[:-1], cursor[:-4], cursor + "AAAA", cursor + "=", "\n" + cursor, cursor + "\n"):
        with pytest.raises(InvalidInput):
            read_cursor(changed, "list")


async def add_history(world: World, owner_id: UUID, monitor_id: UUID, trigger_id: UUID, count: int, start: int) -> None:
    """Evaluations, changes, facts and firings, two at each moment so that the times alone order nothing."""
    for n in range(count):
        at = minutes(start + n // 2)
        evaluation = await world.evaluation(
            owner_id, monitor_id, at, price(1.0, at), before=State.INACTIVE, after=State.ACTIVE
        )
        await world.firing(owner_id, trigger_id, monitor_id, evaluation, at)
    await world.project()


async def walk(reader: Reader, path: str, key: str, between: Callable[[], Awaitable[None]]) -> list[str]:
    """The `key` of every row in pages of 3, with `between` run after each page."""
    seen: list[str] = []
    page = await reader.get(path, limit=3)
    while True:
        seen += [row[key] for row in page["data"]]
        cursor = page["pagination"]["next_cursor"]
        assert page["pagination"]["has_more"] is (cursor is not None)
        if cursor is None:
            return seen
        await between()
        page = await reader.get(path, limit=3, cursor=cursor)
        assert await reader.get(path, limit=3, cursor=cursor) | {"meta": 0} == page | {"meta": 0}


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/monitors/{monitor}/history", "id"),
        ("/monitors/{monitor}/changes", "id"),
        ("/monitors/{monitor}/facts/price", "evaluation_id"),
        ("/triggers/{trigger}/firings", "id"),
    ],
)
async def test_a_walk_by_cursor_visits_every_row_once_in_order_while_rows_are_inserted(
    world: World, reader: As, path: str, key: str
) -> None:
    ada = await world.person()
    monitor = await world.monitor(ada)
    trigger = await world.trigger(ada, monitor, await world.action(ada))
    await add_history(world, ada, monitor, trigger, 11, start=100)
    path = path.format(monitor=monitor, trigger=trigger)
    before = [row[key] for row in await reader(ada).data(path, limit=1000)]
    newer = iter(range(1000, 2000))

    async def insert() -> None:
        await add_history(world, ada, monitor, trigger, 1, start=next(newer))

    seen = await walk(reader(ada), path, key, insert)
    assert len(set(before)) == 11
    assert seen == before
    assert len(await reader(ada).data(path, limit=1000)) > 11


async def test_a_page_that_ends_with_the_last_row_says_so(world: World, reader: As) -> None:
    ada = await world.person()
    monitor = await world.monitor(ada)
    for n in range(3):
        await world.evaluation(ada, monitor, minutes(n))
    await world.project()
    path = f"/monitors/{monitor}/history"
    assert (await reader(ada).get(path, limit=3))["pagination"]["next_cursor"] is None
    page = await reader(ada).get(path, limit=2)
    rest = await reader(ada).get(path, limit=2, cursor=page["pagination"]["next_cursor"])
    assert (len(rest["data"]), rest["pagination"]["has_more"]) == (1, False)


async def test_a_cursor_is_taken_only_by_the_list_it_came_from(world: World, reader: As) -> None:
    ada = await world.person()
    one, other = await world.monitor(ada), await world.monitor(ada)
    for monitor in (one, one, other):
        await world.evaluation(ada, monitor, minutes(1))
    await world.project()
    cursor = (await reader(ada).get(f"/monitors/{one}/history", limit=1))["pagination"]["next_cursor"]
    for path in (f"/monitors/{other}/history", f"/monitors/{one}/changes", f"/monitors/{one}/facts/price"):
        assert await reader(ada).refused_field(path, cursor=cursor) == "cursor"
    assert await reader(ada).refused_field(f"/monitors/{one}/history", cursor=cursor[::-1]) == "cursor"
    assert await reader(ada).refused_field(f"/monitors/{one}/history", limit=1001) == "limit"
