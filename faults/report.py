"""What a run of the suite tells: a table for people, JSON for programs."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import msgspec
from rich.table import Table

from faults.run import Outcome


class Line(msgspec.Struct, frozen=True):
    """What came of one scenario in all its runs. Durations in seconds; `converge_seconds_max` is from the end of the harm to
    the last thing done."""

    row: int
    scenario: str
    runs: int
    kills: int
    commands: int
    events: int
    mails: int
    converge_seconds_max: float
    violations: int


class Report(msgspec.Struct, frozen=True):
    """A whole run. `crash_points` counts the deaths at each."""

    first_seed: int
    seeds: int
    seconds: float
    lines: list[Line]
    crash_points: dict[str, int]
    violations: list[str]


def report_of(outcomes: Sequence[Outcome], *, first_seed: int, seeds: int, seconds: float) -> Report:
    """The report of these outcomes."""
    together: dict[tuple[int, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        together[outcome.row, outcome.name].append(outcome)
    lines = [
        Line(
            row=row,
            scenario=name,
            runs=len(runs),
            kills=sum(run.kills for run in runs),
            commands=sum(run.commands for run in runs),
            events=sum(run.events for run in runs),
            mails=sum(run.mails for run in runs),
            converge_seconds_max=round(max(run.converged_seconds for run in runs), 1),
            violations=sum(len(run.findings) for run in runs),
        )
        for (row, name), runs in sorted(together.items())
    ]
    violations = [f"seed {o.seed}, row {o.row}, {o.name}: {found}" for o in outcomes for found in o.findings]
    points = Counter(point for outcome in outcomes for point in outcome.points)
    return Report(first_seed, seeds, round(seconds, 1), lines, dict(sorted(points.items())), violations)


def table_of(report: Report, elsewhere: Mapping[int, str]) -> Table:
    """The report as a table; `elsewhere` names the tests of the rows that are not played here."""
    table = Table(title=f"{report.seeds} seeds from {report.first_seed}, {report.seconds:.0f} s")
    for column in ("row", "scenario"):
        table.add_column(column)
    for column in ("runs", "kills", "commands", "events", "mails", "converged in", "violations"):
        table.add_column(column, justify="right")
    for line in report.lines:
        table.add_row(
            str(line.row),
            line.scenario,
            *(str(number) for number in (line.runs, line.kills, line.commands, line.events, line.mails)),
            f"{line.converge_seconds_max:.1f} s",
            str(line.violations),
        )
    table.caption = "rows " + ", ".join(map(str, sorted(elsewhere))) + " are tests of their own (docs/faults.md)"
    return table


def repeating(seed: int) -> str:
    """The command that plays a seed again."""
    return f"make faults SEED={seed} N=1"
