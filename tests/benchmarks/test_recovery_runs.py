"""The recovery benchmark runs on a small scale: a real projector process dies, and a real Redis is flushed."""

from pathlib import Path

import msgspec

from benchmarks import recovery
from benchmarks.recovery import Plan
from benchmarks.servers import Servers


def test_recovery_tells_how_long_events_wait(tmp_path: Path, database: str, redis_url: str) -> None:
    plan = Plan(kills=1, flushes=1, take_over_seconds=8, flush_seconds=1)
    recovery.run(Servers(tmp_path, database, redis_url), rate=50, plan=plan, json=tmp_path / "recovery.json")
    figures = msgspec.json.decode((tmp_path / "recovery.json").read_bytes())["figures"]
    assert figures["events"] == 50 * 11
    assert (len(figures["kills"]), len(figures["flushes"])) == (1, 1)
    assert figures["kills"][0]["recovered_seconds"] > 0
    assert figures["kills"][0]["longest_wait_seconds"] > 0
    assert figures["flushes"][0]["longest_wait_seconds"] > 0
