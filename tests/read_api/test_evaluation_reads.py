"""GET of a monitor's history, its evaluations and its facts."""

from collections.abc import Callable
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from domain.evaluation import EvaluationFailed, EvaluationRequested, Evidence, Verdict
from domain.fact import FactType, FactValue
from domain.monitor import State
from tests.conftest import AT
from tests.read_api.conftest import Reader
from tests.read_api.world import HASH, URL, World, minutes, price

As = Callable[[UUID], Reader]


async def test_an_evaluation_tells_its_facts_condition_evidence_and_cost(world: World, reader: As) -> None:
    ada = await world.person()
    monitor = await world.monitor(ada)
    at = minutes(1)
    evaluation = await world.evaluation(
        ada, monitor, at, price(49.0, at), verdict=Verdict.MET, before=State.INACTIVE, after=State.ACTIVE
    )
    await world.project()
    shape = await reader(ada).data(f"/monitors/{monitor}/evaluations/{evaluation}")
    assert shape.pop("explanation")["rule"] == "switched"
    shown = "2026-01-01T00:01:00Z"
    assert shape == {
        "id": str(evaluation),
        "monitor_id": str(monitor),
        "status": "completed",
        "verdict": "met",
        "state_before": "inactive",
        "state_after": "active",
        "changed": True,
        "facts": [
            {
                "name": "price",
                "type": "number",
                "value": 49.0,
                "unit": "EUR",
                "confidence": 1.0,
                "quote": "49.0",
                "source_url": URL,
                "evidence_hash": HASH,
                "observed_at": shown,
                "reason": None,
            }
        ],
        "condition": {"expression": "price < 50.0", "inputs": {"price": 49.0}, "result": True},
        "reason": None,
        "evidence": [{"url": URL, "outcome": "ok", "hash": HASH, "fetched_at": shown}],
        "provider": "rules",
        "model": None,
        "cost_micros": 7,
        "saved_micros": 0,
        "duration_ms": 12,
        "error": None,
        "due_at": shown,
        "started_at": shown,
        "completed_at": shown,
    }
    assert await reader(ada).data(f"/monitors/{monitor}/history") == [shape | {"explanation": None}]


@pytest.mark.parametrize(("verdict", "result"), [(Verdict.NOT_MET, False), (Verdict.INCONCLUSIVE, None)])
async def test_a_verdict_that_is_not_met_is_false_and_an_inconclusive_one_is_null(
    world: World, reader: As, verdict: Verdict, result: object
) -> None:
    ada = await world.person()
    monitor = await world.monitor(ada)
    await world.evaluation(ada, monitor, AT, verdict=verdict)
    await world.project()
    shape = (await reader(ada).data(f"/monitors/{monitor}/history"))[0]
    assert (shape["condition"]["result"], shape["changed"]) == (result, False)


async def test_history_shows_failed_and_waiting_evaluations_too(world: World, reader: As) -> None:
    ada = await world.person()
    monitor = await world.monitor(ada)
    failed, queued = uuid7(), uuid7()
    failure = EvaluationFailed(
        monitor_id=monitor,
        plan_revision=1,
        due_at=minutes(1),
        code="SOURCE_UNREACHABLE",
        message="the shop does not answer",
        evidence=(Evidence(url=URL, outcome="unreachable", fetched_at=minutes(1)),),
        duration_ms=3,
        started_at=minutes(1),
        completed_at=minutes(1),
    )
    await world.append(ada, failed, failure)
    await world.append(ada, queued, EvaluationRequested(monitor_id=monitor, requested_at=minutes(2)))
    await world.project()
    waiting, broken = await reader(ada).data(f"/monitors/{monitor}/history")
    assert (waiting["id"], waiting["status"], waiting["facts"], waiting["condition"]) == (
        str(queued),
        "queued",
        [],
        None,
    )
    assert (broken["id"], broken["status"], broken["verdict"]) == (str(failed), "failed", None)
    assert broken["error"] == {"code": "SOURCE_UNREACHABLE", "message": "the shop does not answer"}
    assert broken["evidence"][0]["outcome"] == "unreachable"


async def test_an_evaluation_of_another_monitor_of_the_same_person_is_not_found_here(world: World, reader: As) -> None:
    ada = await world.person()
    one, other = await world.monitor(ada), await world.monitor(ada)
    evaluation = await world.evaluation(ada, one, AT)
    await world.project()
    await reader(ada).refusal(f"/monitors/{other}/evaluations/{evaluation}", 404)


async def test_a_series_is_read_newest_first_with_what_every_value_was_read_from(world: World, reader: As) -> None:
    ada = await world.person()
    monitor = await world.monitor(ada)
    for n in range(4):
        await world.evaluation(
            ada, monitor, minutes(n), price(50.0 + n, minutes(n)), price(-1.0, minutes(n), name="other")
        )
    await world.project()
    points = await reader(ada).data(f"/monitors/{monitor}/facts/price")
    assert [(p["value"], p["observed_at"]) for p in points] == [
        (53.0, "2026-01-01T00:03:00Z"),
        (52.0, "2026-01-01T00:02:00Z"),
        (51.0, "2026-01-01T00:01:00Z"),
        (50.0, "2026-01-01T00:00:00Z"),
    ]
    assert {(p["name"], p["quote"], p["evidence_hash"]) for p in points[:1]} == {("price", "53.0", HASH)}
    between = {"from_": "2026-01-01T01:01:00+01:00", "to": "2026-01-01T00:03:00Z"}
    assert [p["value"] for p in await reader(ada).data(f"/monitors/{monitor}/facts/price", **between)] == [52.0, 51.0]


async def test_buckets_gather_numbers_by_time(world: World, reader: As) -> None:
    ada = await world.person()
    monitor = await world.monitor(ada)
    for at, value in [(1, 10.0), (2, 40.0), (59, 25.0), (61, 7.0)]:
        await world.evaluation(ada, monitor, minutes(at), price(value, minutes(at)))
    await world.project()
    path = f"/monitors/{monitor}/facts/price"
    assert await reader(ada).data(path, bucket="hour") == [
        {"start": "2026-01-01T01:00:00Z", "count": 1, "min": 7.0, "max": 7.0, "avg": 7.0, "first": 7.0, "last": 7.0},
        {
            "start": "2026-01-01T00:00:00Z",
            "count": 3,
            "min": 10.0,
            "max": 40.0,
            "avg": 25.0,
            "first": 10.0,
            "last": 25.0,
        },
    ]
    assert [b["start"] for b in await reader(ada).data(path, bucket="minute")][-1] == "2026-01-01T00:01:00Z"
    assert [b["count"] for b in await reader(ada).data(path, bucket="day")] == [4]
    assert [b["start"] for b in await reader(ada).data(path, bucket="week")] == ["2025-12-29T00:00:00Z"]
    assert [b["count"] for b in await reader(ada).data(path, bucket="day", to="2026-01-01T00:59:00Z")] == [2]


async def test_buckets_are_read_by_cursor_each_whole_and_once(world: World, reader: As) -> None:
    ada = await world.person()
    monitor = await world.monitor(ada)
    for n in range(9):
        await world.evaluation(ada, monitor, minutes(n * 30), price(float(n), minutes(n * 30)))
    await world.project()
    path, cursor, counts = f"/monitors/{monitor}/facts/price", None, []
    while True:
        page = await reader(ada).get(path, bucket="hour", limit=2, **({"cursor": cursor} if cursor else {}))
        counts += [(b["start"][11:13], b["count"]) for b in page["data"]]
        cursor = page["pagination"]["next_cursor"]
        if cursor is None:
            break
    assert counts == [("04", 1), ("03", 2), ("02", 2), ("01", 2), ("00", 2)]


async def test_buckets_of_texts_have_first_and_last_but_no_average(world: World, reader: As) -> None:
    ada = await world.person()
    monitor = await world.monitor(ada)
    for n, text in enumerate(["closed", "open"]):
        await world.evaluation(ada, monitor, minutes(n), price(text, minutes(n), type=FactType.TEXT))
    await world.project()
    bucket = (await reader(ada).data(f"/monitors/{monitor}/facts/price", bucket="day"))[0]
    assert (bucket["first"], bucket["last"], bucket["count"]) == ("closed", "open", 2)
    assert (bucket["min"], bucket["max"], bucket["avg"]) == (None, None, None)


@pytest.mark.parametrize("value", [True, "in stock", ["a", "b"], 3.5])
async def test_a_value_keeps_its_type(world: World, reader: As, value: FactValue) -> None:
    ada = await world.person()
    monitor = await world.monitor(ada)
    await world.evaluation(ada, monitor, AT, price(value, AT, type=FactType.TEXT))
    await world.project()
    point = (await reader(ada).data(f"/monitors/{monitor}/facts/price"))[0]
    assert point["value"] == value
    assert type(point["value"]) is type(value)


@pytest.mark.parametrize("bucket", ["raw", "day"])
async def test_a_fact_of_the_plan_may_have_no_values_yet_but_an_unknown_one_is_not_found(
    world: World, reader: As, bucket: str
) -> None:
    ada = await world.person()
    monitor = await world.monitor(ada)
    await world.project()
    assert await reader(ada).data(f"/monitors/{monitor}/facts/price", bucket=bucket) == []
    await reader(ada).refusal(f"/monitors/{monitor}/facts/colour", 404, bucket=bucket)


async def test_a_fact_that_is_no_identifier_is_not_found(world: World, reader: As) -> None:
    ada = await world.person()
    monitor = await world.monitor(ada)
    await world.project()
    for name in ("a b", "%00", "pr%C3%AFce", "1", "x'y"):
        await reader(ada).refusal(f"/monitors/{monitor}/facts/{name}", 404)


BAD_PARAMETERS: list[tuple[dict[str, object], str]] = [
    ({"from_": "yesterday"}, "from"),
    ({"from_": "2026-01-01T00:00:00"}, "from"),
    ({"to": "2026-01-01T00:00:00"}, "to"),
    ({"from_": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "from"),
    ({"bucket": "month"}, "bucket"),
    ({"limit": 1001}, "limit"),
    ({"limit": 0}, "limit"),
    ({"cursor": ""}, "cursor"),
    ({"start": "2026-01-01T00:00:00Z"}, "start"),
]


async def test_a_bad_parameter_of_a_series_is_refused_by_name(world: World, reader: As) -> None:
    ada = await world.person()
    monitor = await world.monitor(ada)
    await world.project()
    for parameters, field in BAD_PARAMETERS:
        assert await reader(ada).refused_field(f"/monitors/{monitor}/facts/price", **parameters) == field


async def test_the_ends_of_time_are_times_like_others(world: World, reader: As) -> None:
    ada = await world.person()
    monitor = await world.monitor(ada)
    await world.evaluation(ada, monitor, AT, price(1.0, AT))
    await world.project()
    ends = {"from_": "0001-01-01T00:00:00+14:00", "to": "9999-12-31T23:59:59-14:00"}
    for bucket in ("raw", "week"):
        assert len(await reader(ada).data(f"/monitors/{monitor}/facts/price", bucket=bucket, **ends)) == 1
