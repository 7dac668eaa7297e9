"""`python -m faults`: play seeds, print what came of them, exit 1 when an invariant did not hold."""

import asyncio
import contextlib
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from faults.report import repeating, table_of
from faults.run import Outcome
from faults.scenarios import ELSEWHERE
from faults.servers import servers_of_our_own
from faults.suite import INSTALLATIONS, play_seeds

TABLE_CHARS = 118
"""Into a file or a pipe the table is as wide as it needs to be."""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def main(
    *,
    seed: Annotated[int, typer.Option(min=1, help="The first seed.")] = 1,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, one after the other.")] = 20,
    at_once: Annotated[int, typer.Option(min=1, help="How many installations at the same time.")] = INSTALLATIONS,
    folder: Annotated[
        Path | None, typer.Option(help="Where logs and data are kept; else they are gone when it is done.")
    ] = None,
    short: Annotated[bool, typer.Option("--short", help="Leave out the scenarios of a minute and more.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON for programs.")] = False,
) -> None:
    """Break Vigil on purpose, again and again, and see that what must hold holds."""
    console = Console(stderr=True, highlight=False)

    def tell(outcome: Outcome) -> None:
        verdict = "[red]violated[/]" if outcome.findings else "held"
        console.print(
            f"seed {outcome.seed:>4}  row {outcome.row:>2}  {outcome.name:<38} {outcome.seconds:5.1f} s  {verdict}"
        )
        for finding in outcome.findings:
            console.print(f"  {finding}\n  again: {repeating(outcome.seed)}", style="red", markup=False, soft_wrap=True)

    with contextlib.ExitStack() as stack:
        where = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vigil-faults-")))
        where.mkdir(parents=True, exist_ok=True)
        where.chmod(0o755)  # the server's own user must reach its folder
        servers = stack.enter_context(servers_of_our_own(where))
        report = asyncio.run(play_seeds(servers, range(seed, seed + seeds), at_once=at_once, long=not short, told=tell))
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(report)))
    else:
        width = None if sys.stdout.isatty() else TABLE_CHARS
        Console(highlight=False, width=width).print(table_of(report, ELSEWHERE))
    raise typer.Exit(1 if report.violations else 0)


if __name__ == "__main__":
    app()
