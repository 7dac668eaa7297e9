"""`vigil api` and `vigil worker`: single roles in a process of their own."""

import asyncio
from collections.abc import Sequence

import typer
from rich.console import Console

from adapters import yoyo_migrations
from bootstrap.collector import spare_what_stays
from bootstrap.running import ROLES, known_endpoints, roles_up
from bootstrap.settings import Settings
from bootstrap.signals import asked_by_signals, wait_until_asked
from cli.connection import check_answers, configured, run
from cli.output import WRONG_USE, fail
from cli.up import say_stopping, show_ready, with_free_ports
from workers.lifecycle import Stop


def run_roles(names: Sequence[str], *, api: bool) -> None:
    """Run until asked to stop. Raises what `roles_up` raises."""
    unknown = [name for name in names if name not in ROLES]
    if unknown:
        fail(f"there is no worker {unknown[0]!r}; known are {', '.join(ROLES)}", code=WRONG_USE)
    settings = configured()
    run(_run_roles(with_free_ports(settings, "http_port") if api else settings, list(dict.fromkeys(names)), api=api))


async def _run_roles(settings: Settings, names: Sequence[str], *, api: bool) -> None:
    console, stop = Console(highlight=False), Stop()
    database_url = known_endpoints(settings).database_url
    await check_answers(database_url)
    migrations = await asyncio.to_thread(yoyo_migrations.status, database_url)
    if not all(migration.applied for migration in migrations):
        fail("the database lacks migrations; run `vigil migrate up`")
    with asked_by_signals(stop):
        async with roles_up(settings, names, api=api, stop=stop) as running:
            spare_what_stays()
            if api:
                show_ready(console, running)
            else:
                typer.echo(f"ready {' '.join(names)}")
            await wait_until_asked(stop)
            say_stopping(console)
