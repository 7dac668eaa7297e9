"""Trying a change of a monitor on what it saw, over HTTP."""

from datetime import timedelta
from uuid import UUID

import pytest

from bootstrap.now_and_new import new_id, utc_now
from bootstrap.parts import Parts
from commands.backtest import BacktestRunning
from domain.evaluation import EvaluationCompleted, FactExtracted, Verdict
from domain.event import Metadata, NewEvents
from domain.fact import Fact, FactType
from domain.monitor import State
from tests.api.people import Json, Person, wish

SEEN = (60.0, 45.0, 30.0, 55.0)


async def saw(parts: Parts, ada: Person, monitor_id: str) -> None:
    """Evaluations five minutes apart that saw these prices, the last an hour ago."""
    state = State.UNKNOWN
    for i, price in enumerate(SEEN):
        at, found_id, monitor = utc_now() - timedelta(minutes=60 + 5 * (len(SEEN) - i)), new_id(), UUID(monitor_id)
        after = State.ACTIVE if price < 50 else State.INACTIVE
        fact = Fact(
            name="price",
            type=FactType.NUMBER,
            value=price,
            quote=str(price),
            source_url="http://127.0.0.1/",
            evidence_hash="a" * 64,
            observed_at=at,
        )
        completed = EvaluationCompleted(
            monitor_id=monitor,
            plan_revision=1,
            due_at=at,
            verdict=Verdict.MET if after is State.ACTIVE else Verdict.NOT_MET,
            state_before=state,
            state_after=after,
            condition="price < 50.0",
            inputs={"price": price},
            streak=1,
            evidence=(),
            provider="rules",
            duration_ms=1,
            started_at=at,
            completed_at=at,
        )
        events = (FactExtracted(monitor_id=monitor, fact=fact), completed)
        new = NewEvents(stream_id=found_id, owner_id=ada.user_id, expected_version=0, events=events)
        await parts.store.append([new], metadata=Metadata(correlation_id=found_id, actor="test"))
        state = after


@pytest.fixture
async def monitor(parts: Parts, ada: Person) -> str:
    """A monitor of a price under 50, which saw some."""
    made = await ada.gets("POST", "/monitors", wish(), expect=201)
    await saw(parts, ada, made["id"])
    await ada.gets("PATCH", f"/monitors/{made['id']}", {"name": "Kettle"})  # whose answer waits for the read tables
    return str(made["id"])


async def test_a_backtest_tells_when_it_would_have_fired_beside_when_it_did(ada: Person, monitor: str) -> None:
    shown = await ada.gets("POST", f"/monitors/{monitor}/backtest", {"condition": "price < 40.0"})
    assert shown["summary"] == {
        "evaluations": 4,
        "judged": 4,
        "failed": 0,
        "not_repeatable": 0,
        "would_have_fired": 1,
        "did_fire": 1,
        "added": 1,
        "missed": 1,
    }
    assert [one["change"] for one in shown["firings"]] == ["missed", "added"]
    assert [one["state_after"] for one in shown["evaluations"]] == ["inactive", "inactive", "active", "inactive"]
    assert [one["happened"]["state_after"] for one in shown["evaluations"]] == [
        *("inactive", "active", "active", "inactive")
    ]
    assert (shown["plan"]["condition"], shown["over"]) == ("price < 40.0", "facts")
    assert (await ada.gets("GET", f"/monitors/{monitor}"))["condition"] == "price < 50.0"


async def test_a_reset_condition_can_be_tried(ada: Person, monitor: str) -> None:
    shown = await ada.gets("POST", f"/monitors/{monitor}/backtest", {"reset_condition": "price > 58.0"})
    assert [one["state_after"] for one in shown["evaluations"]] == ["inactive", "active", "active", "active"]
    assert shown["plan"]["reset_condition"] == "price > 58.0"


async def test_a_period_bounds_it(ada: Person, monitor: str) -> None:
    whole = (await ada.gets("POST", f"/monitors/{monitor}/backtest", {}))["evaluations"]
    period = {"from": whole[1]["at"], "to": whole[3]["at"]}
    part = await ada.gets("POST", f"/monitors/{monitor}/backtest", period)
    assert part["evaluations"] == whole[1:3]
    assert {"from": part["from"], "to": part["to"]} == period


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"condition": "prise < 3"}, "condition"),
        ({"reset_condition": "price <"}, "reset_condition"),
        ({"confirmations": 11}, "confirmations"),
        ({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "to"),
        ({"from": "2026-01-02T00:00:00"}, "from"),
        ({"from": "9000-01-01T00:00:00Z"}, "from"),
        ({"over": "tea leaves"}, "over"),
        ({"over": "facts", "facts": [{"name": "stock", "type": "number"}], "condition": "stock > 1.0"}, "over"),
        ({"sources": []}, "sources"),
        ({"fires": "each_time", "reset_condition": "price > 60.0"}, "reset_condition"),
    ],
)
async def test_what_is_wrong_is_refused_naming_the_field(ada: Person, monitor: str, body: Json, field: str) -> None:
    refused = await ada.asks("POST", f"/monitors/{monitor}/backtest", body)
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert error["code"] == "VALIDATION_ERROR"
    assert [detail["field"] for detail in error["details"]] == [field]


async def test_nobody_backtests_what_is_not_theirs(ben: Person, monitor: str) -> None:
    assert (await ben.asks("POST", f"/monitors/{monitor}/backtest", {})).status_code == 404


async def test_a_second_one_at_once_is_asked_to_wait(
    ada: Person, monitor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def busy(*_: object) -> None:
        raise BacktestRunning

    monkeypatch.setattr("commands.backtest.Backtesting.run", busy)
    refused = await ada.asks("POST", f"/monitors/{monitor}/backtest", {})
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "5")


async def test_a_reset_condition_is_kept_changed_and_taken_away(ada: Person) -> None:
    made = await ada.gets("POST", "/monitors", wish(reset_condition="price > 60.0"), expect=201)
    assert (made["reset_condition"], made["fires"]) == ("price > 60.0", "on_entry")
    path = f"/monitors/{made['id']}"
    assert (await ada.gets("GET", path))["reset_condition"] == "price > 60.0"
    assert (await ada.gets("PATCH", path, {"confirmations": 2}))["reset_condition"] == "price > 60.0"
    assert (await ada.gets("PATCH", path, {"reset_condition": 'price > 70.0 && held_for("PT1H")'}))["kind"] == (
        "historical_change"
    )
    assert (await ada.gets("PATCH", path, {"reset_condition": ""}))["reset_condition"] is None
