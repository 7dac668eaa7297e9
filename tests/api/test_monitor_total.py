"""How many monitors a person may have in all, paused ones included."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bootstrap.parts import Parts
from tests.api.conftest import MONITOR_LIMIT, vigil
from tests.api.people import Json, Person, wish

MONITOR_TOTAL = MONITOR_LIMIT + 2


@pytest.fixture(scope="module")
async def parts(
    module_database: str, redis_server: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Parts]:
    folder = tmp_path_factory.mktemp("total")
    async with vigil(module_database, redis_server, folder, monitor_total=MONITOR_TOTAL) as opened:
        yield opened


async def imported(person: Person, count: int, *, paused: bool = True, **options: Any) -> Json:  # noqa: ANN401  see gets
    urls = [f"http://127.0.0.1/{i}" for i in range(count)]
    body = {"format": "urls", "urls": urls, "paused": paused}
    answer: Json = await person.gets("POST", "/monitors/import", body, **options)
    return answer


async def full_house(person: Person) -> list[Json]:
    """As many as there may be, all paused."""
    return list((await imported(person, MONITOR_TOTAL))["entries"])


async def test_an_import_of_paused_monitors_stores_what_fits_and_says_so_of_the_rest(ada: Person, ben: Person) -> None:
    answer = await imported(ada, MONITOR_TOTAL + 3)
    assert (answer["created"], answer["refused"]) == (MONITOR_TOTAL, 3)
    refused = [one for one in answer["entries"] if one["id"] is None]
    assert {one["code"] for one in refused} == {"MONITOR_TOTAL_EXCEEDED"}
    assert all("Delete one first" in one["details"][0]["message"] for one in refused)
    again = await imported(ada, 2)
    assert (again["created"], again["refused"]) == (0, 2)
    stored = await ada.installation.stored(ada.user_id)
    assert (stored["schedules"], stored["reservations"]) == (MONITOR_TOTAL, MONITOR_TOTAL), "a name each, and no place"
    await ben.monitor()


async def test_a_full_house_refuses_a_new_monitor_until_one_is_deleted(ada: Person) -> None:
    paused = await full_house(ada)
    before = await ada.installation.stored(ada.user_id)
    for body in (wish(), wish(name="Kettle")):
        error = await ada.is_refused("POST", "/monitors", body, status=422)
        assert (error["code"], "paused ones included" in error["message"]) == ("MONITOR_TOTAL_EXCEEDED", True)
    error = await ada.is_refused("POST", f"/monitors/{paused[0]['id']}/fork", status=422)
    assert error["code"] == "MONITOR_TOTAL_EXCEEDED"
    assert await ada.installation.stored(ada.user_id) == before
    await ada.gets("DELETE", f"/monitors/{paused[0]['id']}", expect=204)
    await ada.monitor()
    await ada.is_refused("POST", "/monitors", wish(), status=422)


async def test_what_was_deleted_comes_back_only_where_there_is_room(ada: Person) -> None:
    gone, other, *_ = await full_house(ada)
    await ada.gets("DELETE", f"/monitors/{gone['id']}", expect=204)
    await ada.monitor()
    error = await ada.is_refused("POST", f"/monitors/{gone['id']}/restore", status=422)
    assert error["code"] == "MONITOR_TOTAL_EXCEEDED"
    await ada.is_refused("GET", f"/monitors/{gone['id']}", status=404)
    await ada.gets("DELETE", f"/monitors/{other['id']}", expect=204)
    assert (await ada.gets("POST", f"/monitors/{gone['id']}/restore"))["status"] == "active"


async def test_in_a_full_house_everything_else_goes_on(ada: Person) -> None:
    one, *_ = await full_house(ada)
    assert (await ada.gets("PATCH", f"/monitors/{one['id']}", {"name": "Kettle"}))["name"] == "Kettle"
    assert (await ada.gets("POST", f"/monitors/{one['id']}/resume"))["status"] == "active"
    assert (await ada.gets("POST", f"/monitors/{one['id']}/pause"))["status"] == "paused"


async def test_of_the_two_limits_the_one_that_is_reached_is_told(ada: Person) -> None:
    for _ in range(MONITOR_LIMIT):
        await ada.monitor()
    error = await ada.is_refused("POST", "/monitors", wish(), status=422)
    assert error["code"] == "MONITOR_LIMIT_EXCEEDED"
    await imported(ada, MONITOR_TOTAL - MONITOR_LIMIT)
    error = await ada.is_refused("POST", "/monitors", wish(), status=422)
    assert error["code"] == "MONITOR_TOTAL_EXCEEDED", "pausing one would not help"


async def test_of_two_who_come_for_the_last_place_at_the_same_moment_one_gets_it(ada: Person) -> None:
    await imported(ada, MONITOR_TOTAL - 1)
    answers = await asyncio.gather(*(ada.asks("POST", "/monitors", wish(name=f"M{i}")) for i in range(2)))
    assert sorted(answer.status_code for answer in answers) == [201, 422]
    assert len(await ada.gets("GET", "/monitors")) == MONITOR_TOTAL


async def test_imports_creations_forks_and_restorations_together_stay_within_the_limit(ada: Person) -> None:
    gone, kept = (await imported(ada, 2))["entries"]
    await ada.gets("DELETE", f"/monitors/{gone['id']}", expect=204)
    await asyncio.gather(
        imported(ada, 3),
        imported(ada, 3),
        ada.asks("POST", f"/monitors/{gone['id']}/restore"),
        ada.asks("POST", f"/monitors/{kept['id']}/fork"),
        ada.asks("POST", "/monitors", wish(name="Kettle")),
    )
    assert len(await ada.gets("GET", "/monitors")) == MONITOR_TOTAL
