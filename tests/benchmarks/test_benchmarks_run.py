"""Each benchmark runs, on a small scale, and its figures can be read by a program."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from benchmarks import api, append, evaluate, loading, models, path, project, schedule, starting
from benchmarks.filling import crowd, people_for
from benchmarks.machine import describe
from benchmarks.report import Quantiles, quantiles
from benchmarks.servers import Servers, durable_servers


@pytest.fixture
def servers(tmp_path: Path, database: str, redis_url: str) -> Servers:
    """The tests' servers in place of durable ones: what is tested here is not speed."""
    return Servers(tmp_path, database, redis_url)


def read(json: Path) -> dict[str, Any]:
    """A result file, after checking what all of them hold."""
    document = msgspec.json.decode(json.read_bytes(), type=dict[str, Any])
    assert set(document) == {"benchmark", "measured_at", "machine", "figures"}
    assert document["machine"]["postgresql"].startswith("18.")
    assert {"cores", "cpu", "memory_gib", "redis", "python", "fsync", "load_average"} <= set(document["machine"])
    figures: dict[str, Any] = document["figures"]
    return figures


def test_append_compares_all_contestants_in_one_run(
    servers: Servers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    append.run(servers, writers=2, seconds=0.1, rounds=1, json=tmp_path / "append.json")
    figures = read(tmp_path / "append.json")
    assert set(figures["median"]) == {append.NEW, append.GROWING, append.LIBRARY, append.PGBENCH}
    assert all(len(rates) == 1 and min(rates) > 0 for rates in figures["rounds"].values())
    assert figures["of_library"] == pytest.approx(
        figures["median"][append.NEW] / figures["median"][append.LIBRARY], 0.01
    )
    assert figures["of_pgbench"] == pytest.approx(
        figures["median"][append.NEW] / figures["median"][append.PGBENCH], 0.01
    )
    assert "of the library's recorder" in capsys.readouterr().out


@pytest.mark.parametrize("separate", [False, True])
def test_path_sees_every_event_become_readable(servers: Servers, tmp_path: Path, separate: bool) -> None:  # noqa: FBT001  a parameter
    path.run(servers, rate=50, seconds=0.5, separate=separate, json=tmp_path / "path.json")
    figures = read(tmp_path / "path.json")
    assert figures["events"] == 25
    assert figures["separate"] is separate
    for name in ("latency", "since_due", "append", "resolution"):
        assert 0 < figures[name]["p50"] <= figures[name]["p95"] <= figures[name]["p99"] <= figures[name]["max"]
    assert figures["append"]["p50"] < figures["latency"]["p50"]


@pytest.mark.parametrize("rebuild", [None, 600])
def test_project_counts_every_event(servers: Servers, tmp_path: Path, rebuild: int | None) -> None:
    project.run(servers, events=500, rebuild=rebuild, json=tmp_path / "project.json")
    figures = read(tmp_path / "project.json")
    assert figures["mode"] == ("live" if rebuild is None else "rebuild")
    assert figures["events"] >= (rebuild or 500)
    for name in ("stored_per_second", "sequenced_per_second", "projected_per_second"):
        assert figures[name] > 0
    assert figures["memory_peak_mib"] >= figures["memory_before_mib"] > 0


def test_the_api_answers_everything_that_its_people_ask(servers: Servers, tmp_path: Path) -> None:
    api.run(servers, users=3, pause=0.1, warm_up=0.1, seconds=1, rates=(40,), json=tmp_path / "api.json")
    figures = read(tmp_path / "api.json")
    thinking, at_a_rate, reads, writes = figures["rounds"]
    assert thinking["plan"]["rate"] is None
    assert at_a_rate["reads"]["rate"] + at_a_rate["writes"]["rate"] == pytest.approx(40)
    assert (reads["writes"], writes["reads"]) == (None, None)
    for found in (thinking["reads"], at_a_rate["reads"], at_a_rate["writes"], reads["reads"], writes["writes"]):
        assert found["refused"] == 0
        assert 0 < found["latency"]["p50"] <= found["latency"]["p95"] <= found["latency"]["p99"]
    assert set(writes["cpu_ms"]) == {"api", "workers", "redis", "people", "postgresql"}
    assert writes["cpu_ms"]["api"] > 0


def test_loading_measures_each_stream_whole_and_from_a_snapshot(servers: Servers, tmp_path: Path) -> None:
    loading.run(servers, events=(10, 500), others=100, rounds=1, json=tmp_path / "loading.json")
    figures = read(tmp_path / "loading.json")
    short, long = figures["streams"]
    assert (short["events"], long["events"]) == (10, 500)
    assert (short["taking"], short["from_oldest_snapshot"]) == (None, None), "too short for a snapshot"
    assert min(long["whole"], long["from_snapshot"], long["from_oldest_snapshot"], long["taking"]) > 0
    assert figures["others"] >= 100
    assert figures["snapshot_bytes"] > 0


def test_the_servers_of_a_benchmark_are_durable_and_leave_nothing_behind() -> None:
    with durable_servers() as servers:
        machine = describe(servers.database_url, servers.redis_url)
        assert machine.fsync == machine.synchronous_commit == "on"
    assert not servers.folder.exists()


def test_a_crowd_has_all_its_people_and_whole_streams() -> None:
    events, people = 2_000, 45
    entries = list(crowd(events, people=people))
    assert len(entries) >= events
    assert len({entry.owner_id for entry in entries}) == people
    assert len({entry.event_id for entry in entries}) == len(entries)
    last: dict[UUID, int] = {}
    for entry in entries:
        assert entry.version == last.get(entry.stream_id, 0) + 1
        last[entry.stream_id] = entry.version


def test_the_people_of_a_crowd_come_mixed() -> None:
    owners = [entry.owner_id for entry in crowd(3_000, people=60)][-300:]
    runs = sum(1 for _ in itertools.groupby(owners))
    assert runs > 200


@pytest.mark.parametrize(("events", "people"), [(1, 1), (1_000, 20), (50_000, 1_000), (1_000_000, 1_000)])
def test_people_grow_with_the_store_up_to_a_thousand(events: int, people: int) -> None:
    assert people_for(events) == people


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([0.001], Quantiles(1, 1, 1, 1)),
        ([n / 1000 for n in range(100, 0, -1)], Quantiles(50, 95, 99, 100)),
    ],
)
def test_quantiles_are_measured_values_in_milliseconds(seconds: Sequence[float], expected: Quantiles) -> None:
    assert quantiles(seconds) == expected


def test_quantiles_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        quantiles([])


def test_models_read_every_page_of_each_round(servers: Servers, tmp_path: Path) -> None:
    models.run(servers, monitors=20, times=1, calls=3, json=tmp_path / "models.json")
    figures = read(tmp_path / "models.json")
    assert [one["failed"] for one in figures["rounds"]] == [0]
    assert figures["in_flight_most"] > 1
    assert figures["through"]["p50"] > figures["alone"]["p50"]


def test_evaluate_makes_each_evaluation_of_each_round(servers: Servers, tmp_path: Path) -> None:
    evaluate.run(servers, monitors=20, evaluators_max=1, json=tmp_path / "evaluate.json")
    rounds = read(tmp_path / "evaluate.json")["rounds"]
    assert [(one["name"], one["failed"]) for one in rounds] == [
        ("first", 0),
        ("unchanged", 0),
        ("changed", 0),
        ("unchanged", 0),
        ("changed", 0),
    ]
    assert [one["answers"] for one in rounds[:3]] == [
        {"200": 20, "304": 0},
        {"200": 0, "304": 20},
        {"200": 20, "304": 0},
    ]
    assert all(one["rate"] > 0 and one["memory_mib"] > 0 for one in rounds)


def test_schedule_hands_out_every_monitor_once(servers: Servers, tmp_path: Path) -> None:
    schedule.run(servers, monitors=300, json=tmp_path / "schedule.json")
    figures = read(tmp_path / "schedule.json")
    assert (figures["monitors"], figures["jobs"]) == (300, 300)


def test_starting_tells_when_what_was_due_and_asked_for_began(servers: Servers, tmp_path: Path) -> None:
    starting.run(servers, rate=20, seconds=1, json=tmp_path / "starting.json")
    figures = read(tmp_path / "starting.json")
    assert (figures["evaluations"], figures["asked"]) == (20, 10)
    for name in ("due", "asked_for"):
        assert 0 < figures[name]["p50"] <= figures[name]["max"]
