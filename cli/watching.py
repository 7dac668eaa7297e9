"""What `vigil monitors` does, over the API."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import typer

from bootstrap.now_and_new import utc_now
from cli.api_client import Api, Json, Reach, Refused, logged_in
from cli.arguments import confirmed
from cli.connection import run
from cli.monitor_lines import cost_lines, evaluation_lines, listed_lines, monitor_lines, plan_lines
from cli.output import FAILED, print_json
from domain.errors import InvalidInput
from domain.fact import ReadBy, Select

LOOK_SECONDS = 0.1
LATEST = 100
"""Among so many evaluations by their slots the last one is looked for: one that waits for a batch ends after later ones."""
ENDED = {"completed", "failed"}
SELECTORS = [name for name in Select.__struct_fields__ if name != "csv_row"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A monitor as the options of `add` say it."""

    prompt: str
    sources: Sequence[str]
    feeds: Sequence[str]
    signals: Sequence[str]
    name: str | None
    every: str | None
    cron: str | None
    timezone: str | None
    condition: str | None
    facts: Sequence[str]
    confirmations: int | None
    provider: str | None = None
    batch: bool = False

    def body(self) -> Json:
        """As the API takes it; what was not said is left out. Raises `InvalidInput`."""
        schedule = _given(every=self.every, cron=self.cron, timezone=self.timezone)
        sources = [
            *({"type": "http", "url": url} for url in self.sources),
            *({"type": "feed", "url": url} for url in self.feeds),
            *({"type": "signal", "id": id_} for id_ in self.signals),
        ]
        return _given(
            prompt=self.prompt,
            name=self.name,
            sources=sources,
            schedule=schedule or None,
            condition=self.condition,
            facts=[read_fact(text) for text in self.facts] or None,
            confirmations=self.confirmations,
            provider=self.provider,
            batch=self.batch or None,
        )


def read_fact(text: str) -> Json:
    """A fact as people write it, `NAME:TYPE[:UNIT][=HOW:WHERE]`, where HOW `model` has a description in place of WHERE, or as
    the JSON object of the API. Raises `InvalidInput`."""
    if text.lstrip().startswith("{"):
        try:
            return dict(json.loads(text))
        except ValueError as error:
            raise InvalidInput(f"--fact: {text!r} is not JSON: {error}") from None
    said, _, selector = text.partition("=")
    name, *rest = said.split(":")
    how, _, where = selector.partition(":")
    if len(rest) not in {1, 2} or not all((name, *rest)) or ("=" in text and not (how and where)):
        raise InvalidInput(
            f"--fact: write {text!r} as NAME:TYPE[:UNIT][=HOW:WHERE], for example price:number:EUR=jsonpath:$.price"
            " or gone:boolean=model:whether the item is sold out"
        )
    if how not in {"", *SELECTORS, ReadBy.MODEL}:
        raise InvalidInput(f"--fact: {how!r} in {text!r} is none of {', '.join(SELECTORS)}, {ReadBy.MODEL}")
    by_model = how == ReadBy.MODEL
    return _given(
        name=name,
        type=rest[0],
        unit=rest[1] if len(rest) == 2 else None,
        select={how: where} if how and not by_model else None,
        read_by=how if by_model else None,
        description=where if by_model else None,
    )


def _given(**values: Any) -> Json:  # noqa: ANN401  JSON
    return {name: value for name, value in values.items() if value is not None}


def run_add(reach: Reach, wanted: Wanted, *, dry_run: bool, as_json: bool) -> None:
    """Create a monitor, or only try it out; ends with 1 when a trial could not read its sources."""
    body = wanted.body()
    made = run(_call(reach, "POST", "/monitors/preview" if dry_run else "/monitors", body))
    if as_json:
        print_json(made)
    elif dry_run:
        _tell(["nothing was stored; this is what would be watched:", *plan_lines(made["plan"])])
        _tell(cost_lines(made))
        _tell(evaluation_lines(made["evaluation"]))
    else:
        _tell(monitor_lines(made, now=utc_now()))
    if dry_run and made["evaluation"]["status"] == "failed":
        raise typer.Exit(FAILED)


def run_list(reach: Reach, *, status: str | None, state: str | None, search: str | None, as_json: bool) -> None:
    """Show the person's monitors."""
    found = run(_list(reach, _given(status=status, state=state, q=search)))
    if as_json:
        print_json(found)
    else:
        _tell(listed_lines(found, now=utc_now()) or ["no monitors"])


def run_show(reach: Reach, which: str, *, as_json: bool) -> None:
    """Show one monitor, and that evaluation of it which ended last."""
    monitor, last = run(_show(reach, which))
    if as_json:
        print_json(monitor)
        return
    _tell(monitor_lines(monitor, now=utc_now()))
    if last is not None:
        _tell(["the last evaluation:", *(f"  {line}" for line in evaluation_lines(last))])


def run_evaluate(reach: Reach, which: str, *, wait: bool, seconds_max: float, as_json: bool) -> None:
    """Have a monitor evaluated; with `wait` show what came of it, and end with 1 when it failed."""
    evaluation = run(_evaluate(reach, which, wait=wait, seconds_max=seconds_max))
    if as_json:
        print_json(evaluation)
    elif wait:
        _tell(evaluation_lines(evaluation))
    else:
        typer.echo(f"evaluation {evaluation['id']} was asked for")
    if evaluation.get("status") == "failed":
        raise typer.Exit(FAILED)


def run_turn(reach: Reach, which: str, verb: str, *, as_json: bool) -> None:
    """`pause` or `resume` a monitor."""
    monitor = run(_turn(reach, which, verb))
    print_json(monitor) if as_json else typer.echo(f"{monitor['name']} is {monitor['status']}")


def run_delete(reach: Reach, which: str, *, yes: bool, as_json: bool) -> None:
    """Delete a monitor."""
    monitor = run(_find_one(reach, which))
    confirmed(f"Delete {monitor['name']}? Its history stays.", yes=yes)
    run(_call(reach, "DELETE", f"/monitors/{monitor['id']}"))
    print_json({"id": monitor["id"]}) if as_json else typer.echo(f"deleted {monitor['name']}")


def run_export(reach: Reach, which: str | None) -> None:
    """Write one monitor, or all, as JSON that can be imported again."""
    typer.echo(run(_export(reach, which)))


def _tell(lines: Sequence[str]) -> None:
    for line in lines:
        typer.echo(line)


async def _call(reach: Reach, method: str, path: str, body: Json | None = None) -> Any:  # noqa: ANN401  JSON
    async with logged_in(reach) as api:
        return await api.call(method, path, body)


async def _list(reach: Reach, query: dict[str, str]) -> list[Json]:
    async with logged_in(reach) as api:
        return await api.all("/monitors", {**query, "sort": "name:asc"})


async def _show(reach: Reach, which: str) -> tuple[Json, Json | None]:
    async with logged_in(reach) as api:
        monitor = await _find(api, which)
        history = await api.call("GET", f"/monitors/{monitor['id']}/history", query={"limit": str(LATEST)})
        ended = [each for each in history if each["status"] in ENDED]
        return monitor, max(ended, key=lambda each: datetime.fromisoformat(each["completed_at"]), default=None)


async def _find_one(reach: Reach, which: str) -> Json:
    async with logged_in(reach) as api:
        return await _find(api, which)


async def _turn(reach: Reach, which: str, verb: str) -> Json:
    async with logged_in(reach) as api:
        monitor = await _find(api, which)
        turned: Json = await api.call("POST", f"/monitors/{monitor['id']}/{verb}")
        return turned


async def _export(reach: Reach, which: str | None) -> str:
    async with logged_in(reach) as api:
        return await api.text(
            "/monitors/export" if which is None else f"/monitors/{(await _find(api, which))['id']}/export"
        )


async def _evaluate(reach: Reach, which: str, *, wait: bool, seconds_max: float) -> Json:
    """What came of the evaluation, or only its id."""
    async with logged_in(reach) as api:
        monitor = await _find(api, which)
        asked: Json = await api.call("POST", f"/monitors/{monitor['id']}/evaluate")
        return await _ended(api, monitor["id"], asked["id"], seconds_max) if wait else asked


async def _ended(api: Api, monitor_id: str, evaluation_id: str, seconds_max: float) -> Json:
    """The evaluation once it has come to its end."""
    try:
        async with asyncio.timeout(seconds_max):
            while True:
                # By this list and not by its id, which leads nowhere until the read tables know it.
                history = await api.call("GET", f"/monitors/{monitor_id}/history", query={"limit": "20"})
                for evaluation in history:
                    if evaluation["id"] == evaluation_id and evaluation["status"] in ENDED:
                        return dict(evaluation)
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        raise Refused(
            f"the evaluation {evaluation_id} has not ended after {seconds_max:g} s; do the workers run? `vigil monitors show`"
            " tells it when it has"
        ) from None


async def _find(api: Api, which: str) -> Json:
    """The person's monitor of this id or name, with what is told of one alone. Raises `Refused`."""
    try:
        monitor_id = str(UUID(which))
    except ValueError:
        named = [
            each for each in await api.all("/monitors", {"q": which}) if each["name"].casefold() == which.casefold()
        ]
        if not named:
            raise Refused(f"you have no monitor called {which!r}; `vigil monitors list` shows those you have") from None
        monitor_id = named[0]["id"]
    found: Json = await api.call("GET", f"/monitors/{monitor_id}")
    return found
