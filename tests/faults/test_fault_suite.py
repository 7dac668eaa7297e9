"""The fault suite itself, as `make faults SEED=1 N=20` runs it: real processes broken on purpose, and nothing lost, doubled,
shown wrongly or left undone. A failure names the seed and the command that repeats it."""

import ast
import re
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from domain.crash_points import CrashPoint
from faults.invariants import Finding, Invariant
from faults.report import Report, repeating, report_of, table_of
from faults.run import Outcome
from faults.scenarios import ELSEWHERE, LONG, SCENARIOS, scenarios_of
from faults.servers import Servers
from faults.suite import play_seeds

ROOT = Path(__file__).parents[2]
SEEDS = range(1, 21)


def text_of(report: Report) -> str:
    console = Console(width=140, highlight=False)
    with console.capture() as captured:
        console.print(table_of(report, ELSEWHERE))
    return captured.get()


@pytest.mark.timeout(900)
async def test_whatever_breaks_what_must_hold_holds(servers: Servers) -> None:
    report = await play_seeds(servers, SEEDS)
    print(text_of(report))  # noqa: T201  the report of the run, for whoever asks pytest for it
    assert report.violations == []
    assert {line.scenario for line in report.lines} == {scenario.name for scenario in SCENARIOS}
    assert report.crash_points.keys() == set(CrashPoint), "every crash point killed somebody"
    assert all(line.commands > 0 for line in report.lines)


def test_twenty_seeds_in_a_row_play_every_scenario_wherever_they_begin() -> None:
    for first in range(1, 200):
        assert {scenario for seed in range(first, first + 20) for scenario in scenarios_of(seed)} == set(SCENARIOS)


def test_with_the_long_ones_twenty_seeds_in_a_row_play_those_too() -> None:
    for first in range(1, 200):
        played = {scenario for seed in range(first, first + 20) for scenario in scenarios_of(seed, long=True)}
        assert played == {*SCENARIOS, *LONG}


def test_rows_that_are_not_played_are_those_of_other_tests() -> None:
    for row, path in ELSEWHERE.items():
        title = ast.get_docstring(ast.parse((ROOT / path).read_text())) or ""
        assert str(row) in re.findall(r"\d+", title.partition(" of the fault matrix")[0])


def test_a_seed_always_plays_the_same() -> None:
    assert [scenarios_of(seed) for seed in SEEDS] == [scenarios_of(seed) for seed in SEEDS]


def test_a_report_tells_a_violation_with_its_seed_and_how_to_see_it_again() -> None:
    found = Finding(Invariant.MAILED_ONCE, "ada got 2 different mails of the price 10007")
    outcomes = [
        Outcome(3, 5, "dies somewhere", 1, ("mailer.after_record",), 10, 100, 4, 7.0, 2.5, ()),
        Outcome(4, 5, "dies somewhere", 2, ("mailer.after_record",) * 2, 20, 200, 5, 9.0, 4.5, (found,)),
    ]
    report = report_of(outcomes, first_seed=3, seeds=2, seconds=16.04)
    (line,) = report.lines
    assert (line.runs, line.kills, line.commands, line.mails, line.converge_seconds_max, line.violations) == (
        (2, 3, 30, 9, 4.5, 1)
    )
    assert report.crash_points == {"mailer.after_record": 3}
    assert report.violations == [
        "seed 4, row 5, dies somewhere: I5 mailed once: ada got 2 different mails of the price 10007"
    ]
    assert repeating(4) == "make faults SEED=4 N=1"
    assert "dies somewhere" in text_of(report)
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report
