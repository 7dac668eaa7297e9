"""How a benchmark tells what it found: lines for people, JSON for comparisons."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.machine import Machine


class Quantiles(msgspec.Struct, frozen=True):
    """Quantiles of durations, in milliseconds, by the nearest-rank method."""

    p50: float
    p95: float
    p99: float
    max: float

    def __str__(self) -> str:
        return f"p50 {self.p50:.1f}  p95 {self.p95:.1f}  p99 {self.p99:.1f}  max {self.max:.1f} ms"


def quantiles(seconds: Sequence[float]) -> Quantiles:
    """The quantiles of durations given in seconds; raises `ValueError` when there are none."""
    if not seconds:
        raise ValueError("nothing was measured")
    ordered = sorted(seconds)

    def rank(percent: int) -> float:
        place = -(-percent * len(ordered) // 100)  # rounded up
        return round(ordered[place - 1] * 1000, 3)

    return Quantiles(rank(50), rank(95), rank(99), rank(100))


def report(name: str, machine: Machine, figures: msgspec.Struct, lines: Sequence[str], json: Path | None) -> None:
    """Print a benchmark's lines with the machine, and write its figures to the file `json` if one is given."""
    print(f"\n{name} on {machine}")
    for line in lines:
        print(f"  {line}")
    if json is not None:
        document: dict[str, Any] = {
            "benchmark": name,
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": msgspec.to_builtins(machine),
            "figures": msgspec.to_builtins(figures),
        }
        json.write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
