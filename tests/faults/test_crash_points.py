"""Points at which a process may be made to die: nothing happens there unless a setting says so, and then it is death."""

import ast
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap.crashing import TOLD, Executioner
from bootstrap.settings import SettingsInvalid, read_settings
from domain.crash_points import CrashPoint, arm, reached
from faults.scenarios import SCENARIOS

ROOT = Path(__file__).parents[2]
PRODUCTION = ("adapters", "bootstrap", "cli", "commands", "domain", "projections", "read_api", "workers")


def points_in(path: Path) -> Iterator[str]:
    """The names of the points that a module reaches."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Call(func=ast.Name("reached"), args=[ast.Attribute(ast.Name("CrashPoint"), name)]):
                yield name
            case _:
                pass


def test_every_point_is_reached_in_the_code_and_dies_in_a_scenario() -> None:
    used = Counter(
        name for package in PRODUCTION for path in (ROOT / package).rglob("*.py") for name in points_in(path)
    )
    assert used.keys() == {point.name for point in CrashPoint}
    played = {scenario.name.rpartition("dies at ")[2] for scenario in SCENARIOS}
    assert played >= set(CrashPoint)


def test_a_point_does_nothing_unless_it_is_armed() -> None:
    struck: list[CrashPoint] = []
    reached(CrashPoint.RELAY_AFTER_SEQUENCING)
    arm(struck.append)
    try:
        reached(CrashPoint.RELAY_AFTER_SEQUENCING)
    finally:
        arm(None)
    reached(CrashPoint.RELAY_AFTER_SEQUENCING)
    assert struck == [CrashPoint.RELAY_AFTER_SEQUENCING]


def test_the_same_seed_decides_alike_whatever_else_is_reached() -> None:
    point, other = CrashPoint.MAILER_AFTER_RECORD, CrashPoint.API_AFTER_COMMIT
    alone = Executioner({point: 0.3}, 7)
    among = Executioner({point: 0.3}, 7)
    decided = [alone.decides(point) for _ in range(50)]
    assert decided == [among.decides(point) for _ in range(50) if not among.decides(other)]
    assert 0 < sum(decided) < 50
    assert decided != [Executioner({point: 0.3}, 8).decides(point) for _ in range(50)]


def test_a_process_that_is_armed_dies_by_sigkill_and_tells_where() -> None:
    program = (
        "from cli.connection import configured; from domain.crash_points import CrashPoint, reached;"
        "configured(); reached(CrashPoint.API_AFTER_COMMIT); print('alive', flush=True);"
        "reached(CrashPoint.RELAY_AFTER_PUBLISHING); print('not dead')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"VIGIL_CRASH_POINT": "relay.after_publishing", "PATH": ""},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert done.stdout == "alive\n"
    assert done.stderr.rstrip().endswith(f"{TOLD} relay.after_publishing")


def test_points_and_probabilities_are_read_from_the_setting() -> None:
    read = read_settings(crash_point="projector.before_commit:0.2, mailer.after_record")
    assert read.crash_point == {CrashPoint.PROJECTOR_BEFORE_COMMIT: 0.2, CrashPoint.MAILER_AFTER_RECORD: 1.0}
    assert read_settings().crash_point == {}


@pytest.mark.parametrize(
    "wrong", ["nowhere", "mailer.after_record:2", "mailer.after_record:-0.1", "mailer.after_record:x"]
)
def test_a_point_that_is_not_there_or_no_probability_is_refused(wrong: str) -> None:
    with pytest.raises(SettingsInvalid, match="VIGIL_CRASH_POINT"):
        read_settings(crash_point=wrong)
