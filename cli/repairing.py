"""What `vigil store` does: the event store as a whole, made ready for another cluster."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import typer

from adapters.data_dir import DataDirLock
from adapters.embedded_postgres import EmbeddedPostgres
from adapters.postgres_pool import Pool, open_pool
from adapters.postgres_repair import APPLICATION_NAME, Repaired, StoreRepair
from bootstrap.now_and_new import utc_now
from bootstrap.settings import EndpointsUnknown, Settings
from cli.acts import record_act
from cli.arguments import confirmed
from cli.connection import check_answers, configured, owner_database_url, run
from cli.output import print_json
from domain.log_state import RESTORED
from domain.operation import StoreRepaired

QUESTION = f"{RESTORED.capitalize()}. Is there a backup, and shall it be repaired?"


def run_repair(*, yes: bool, as_json: bool) -> None:
    """Repair the store if it needs it. Raises `StoreInUse`, `DataDirInUse`."""
    repaired = run(_repair(configured(), yes=yes))
    if as_json:
        print_json({"repaired": repaired is not None, **(msgspec.structs.asdict(repaired) if repaired else {})})
    elif repaired is None:
        typer.echo("nothing to do: the store is at home in this cluster, and every event has its place")
    else:
        rewritten = "; transaction ids were rewritten" if repaired.rewritten else ""
        typer.echo(f"repaired: {repaired.events} events got their place in the log{rewritten}. Start Vigil again")


async def _repair(settings: Settings, *, yes: bool) -> Repaired | None:
    async with _owned_store(settings) as pool:
        repair = StoreRepair(pool)
        if not await repair.is_needed():
            return None
        confirmed(QUESTION, yes=yes)
        repaired = await repair.run()
        await record_act(pool, StoreRepaired(events=repaired.events, repaired_at=utc_now()))
        await repair.settle()
        return repaired


@asynccontextmanager
async def _owned_store(settings: Settings) -> AsyncIterator[Pool]:
    """The store as its owner. An embedded one, which nobody runs while Vigil is stopped, is started for the while."""
    if settings.database_url is None:
        embedded = EmbeddedPostgres(settings.data_dir)
        if not embedded.exists():
            raise EndpointsUnknown(f"there is no store in {settings.data_dir}, and VIGIL_DATABASE_URL is not set")
        with DataDirLock(settings.data_dir):
            try:
                async with open_pool(embedded.start(), size_max=1, name=APPLICATION_NAME) as pool:
                    yield pool
            finally:
                embedded.stop()
        return
    url = owner_database_url(settings)
    await check_answers(url)
    async with open_pool(url, size_max=1, name=APPLICATION_NAME) as pool:
        yield pool
