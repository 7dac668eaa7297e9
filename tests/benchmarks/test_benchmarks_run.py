"""Each benchmark runs, on a small scale, and its figures can be read by a program."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from benchmarks import append, loading, path, project
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
