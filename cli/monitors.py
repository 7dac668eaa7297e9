"""`vigil monitors`: a person's shell for the API."""

# ruff: noqa: PLC0415  help is there at once because the work is imported when it is done
# ruff: noqa: FBT002  an option without a value is a boolean parameter

from typing import Annotated

import typer

from cli.arguments import Json, Yes
from cli.output import failing_in_one_sentence

monitors = typer.Typer(
    no_args_is_help=True,
    help="Watch things, as the person who logged in (`vigil login`) or whose access token VIGIL_TOKEN is.",
)

Url = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="The Vigil to speak to. Left out: VIGIL_PUBLIC_URL, the `vigil up` of the data folder, or that of the last"
        " login.",
    ),
]
Token = Annotated[
    str | None,
    typer.Option(metavar="TOKEN", help="An access token. Better VIGIL_TOKEN: others of this machine may see it here."),
]
Which = Annotated[str, typer.Argument(metavar="ID|NAME", help="The monitor's id, or its name.")]


@monitors.command(
    "add",
    epilog="Example: vigil monitors add 'Tell me when the price drops below 200' --source https://shop.example/kettle.json",
)
def monitors_add(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to watch for, in plain words.")],
    source: Annotated[list[str] | None, typer.Option(metavar="URL", help="A page, JSON or CSV to look at.")] = None,
    feed: Annotated[list[str] | None, typer.Option(metavar="URL", help="An RSS or Atom feed to look at.")] = None,
    signal: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="A signal source of yours to wait for.")
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="TEXT", help="Its name. Left out: made from the prompt.")] = None,
    every: Annotated[str | None, typer.Option(metavar="DURATION", help="How often to look: PT5M, PT1H, P1D.")] = None,
    cron: Annotated[str | None, typer.Option(metavar="LINE", help="When to look: '0 8 * * 1-5'.")] = None,
    timezone: Annotated[str | None, typer.Option(metavar="IANA", help="The time zone of --cron.")] = None,
    condition: Annotated[
        str | None,
        typer.Option(metavar="CEL", help="When it counts: 'price < 200.0'. Left out: taken from the prompt."),
    ] = None,
    fact: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FACT",
            help="What to read: NAME:TYPE[:UNIT][=HOW:WHERE], such as price:number:EUR=jsonpath:$.price, title:text=css:h1"
            " or, by a model, 'gone:boolean=model:whether the item is sold out'; without HOW the whole text. Or the JSON object"
            " of the API. Left out: taken from the prompt.",
        ),
    ] = None,
    confirmations: Annotated[
        int | None, typer.Option(metavar="N", help="How many verdicts in a row it takes to switch the state.")
    ] = None,
    provider: Annotated[
        str | None, typer.Option(metavar="NAME", help="The AI provider to ask first: claude, openai.")
    ] = None,
    batch: Annotated[
        bool, typer.Option("--batch", help="What a model reads may take hours, for half the price.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Look once and show what would be watched, but store nothing.")
    ] = False,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Watch something from now on.

    Looks at --source, --feed and --signal, each of which can be given several times; without any, at the addresses in the
    prompt, or else at what a search of the web finds, where an AI provider is set up. Who is to be mailed about it is
    said with `POST /api/v1/actions` and `POST /api/v1/triggers`.
    """
    with failing_in_one_sentence():
        from cli.api_client import Reach
        from cli.watching import Wanted, run_add

        wanted = Wanted(
            prompt=prompt,
            sources=source or (),
            feeds=feed or (),
            signals=signal or (),
            name=name,
            every=every,
            cron=cron,
            timezone=timezone,
            condition=condition,
            facts=fact or (),
            confirmations=confirmations,
            provider=provider,
            batch=batch,
        )
        run_add(Reach(url, token), wanted, dry_run=dry_run, as_json=as_json)


@monitors.command("list", epilog="Example: vigil monitors list --state active")
def monitors_list(
    status: Annotated[
        str | None, typer.Option(metavar="STATUS", help="Only active, paused, failing or archived ones.")
    ] = None,
    state: Annotated[str | None, typer.Option(metavar="STATE", help="Only unknown, inactive or active ones.")] = None,
    search: Annotated[str | None, typer.Option(metavar="TEXT", help="Only those with this in name or prompt.")] = None,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Show your monitors by name. Deleted ones come with --status archived."""
    with failing_in_one_sentence():
        from cli.api_client import Reach
        from cli.watching import run_list

        run_list(Reach(url, token), status=status, state=state, search=search, as_json=as_json)


@monitors.command("show", epilog="Example: vigil monitors show 'Kettle'")
def monitors_show(which: Which, url: Url = None, token: Token = None, as_json: Json = False) -> None:
    """Show a monitor: its plan, its state, and what came of its last evaluation."""
    with failing_in_one_sentence():
        from cli.api_client import Reach
        from cli.watching import run_show

        run_show(Reach(url, token), which, as_json=as_json)


@monitors.command("evaluate", epilog="Example: vigil monitors evaluate 'Kettle' --wait")
def monitors_evaluate(
    which: Which,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the verdict and show it with its values.")] = False,
    seconds_max: Annotated[
        float, typer.Option("--seconds", metavar="S", min=0.1, help="How long --wait waits at most.")
    ] = 120.0,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Look now, beside the schedule. With --wait it exits 1 when the evaluation failed."""
    with failing_in_one_sentence():
        from cli.api_client import Reach
        from cli.watching import run_evaluate

        run_evaluate(Reach(url, token), which, wait=wait, seconds_max=seconds_max, as_json=as_json)


@monitors.command("pause", epilog="Example: vigil monitors pause 'Kettle'")
def monitors_pause(which: Which, url: Url = None, token: Token = None, as_json: Json = False) -> None:
    """Stop looking until it is resumed."""
    with failing_in_one_sentence():
        from cli.api_client import Reach
        from cli.watching import run_turn

        run_turn(Reach(url, token), which, "pause", as_json=as_json)


@monitors.command("resume", epilog="Example: vigil monitors resume 'Kettle'")
def monitors_resume(which: Which, url: Url = None, token: Token = None, as_json: Json = False) -> None:
    """Look again, the first time at once."""
    with failing_in_one_sentence():
        from cli.api_client import Reach
        from cli.watching import run_turn

        run_turn(Reach(url, token), which, "resume", as_json=as_json)


@monitors.command("delete", epilog="Example: vigil monitors delete 'Kettle' --yes")
def monitors_delete(
    which: Which, yes: Yes = False, url: Url = None, token: Token = None, as_json: Json = False
) -> None:
    """Stop watching and put the monitor away; its history stays."""
    with failing_in_one_sentence():
        from cli.api_client import Reach
        from cli.watching import run_delete

        run_delete(Reach(url, token), which, yes=yes, as_json=as_json)


@monitors.command("export", epilog="Example: vigil monitors export > monitors.json")
def monitors_export(
    which: Annotated[
        str | None, typer.Argument(metavar="[ID|NAME]", help="The monitor's id or name. Left out: all.")
    ] = None,
    url: Url = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Write monitors as JSON that `POST /api/v1/monitors/import` takes. It holds the headers of sources too."""
    _ = as_json  # it is JSON in any case
    with failing_in_one_sentence():
        from cli.api_client import Reach
        from cli.watching import run_export

        run_export(Reach(url, token), which)
