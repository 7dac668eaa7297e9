"""One seed: an installation at work is harmed by one scenario after the other, and each time healed and checked."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import aiohttp
import psycopg
import redis

from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_exchange import PREVIOUS
from adapters.postgres_pool import Pool, open_pool
from bootstrap.now_and_new import new_id, utc_now
from faults.fleet import Fleet
from faults.installation import LAYOUT, SECRET_KEY, Installation
from faults.invariants import Finding, Invariant, check
from faults.ledger import Ledger
from faults.load import Bulk, Load
from faults.people import ANSWER_SECONDS_MAX, Person, Refused
from faults.servers import Servers
from faults.stored import Stored, overdue, read_stored, unfinished, unfinished_jobs
from faults.world import World

PEOPLE = ("ada", "grace")
CONVERGES_WITHIN_SECONDS = 180.0
"""T: above the longest recovery there is, 45 s for a job whose scheduler died, with room for a slow machine."""
HARM_SECONDS_MAX = 90.0
REBUILD_SECONDS_MAX = 60.0
LOOK_SECONDS = 0.1
SHIPS = 8
"""Monitors of the fleet that every run has, all due in the same second: their evaluations are recorded together."""
_TROUBLES = (TimeoutError, Refused, OSError, psycopg.Error, redis.RedisError)


@dataclass
class Run:
    """An installation at work, with everything a scenario may harm and everything the checks need."""

    random: Random
    ledger: Ledger
    installation: Installation
    world: World
    load: Load
    bulk: Bulk
    fleet: Fleet
    pool: Pool
    database_url: str
    postgres_log: Path
    events: int = 0
    on_heal: AsyncExitStack = field(default_factory=AsyncExitStack)
    on_rest: AsyncExitStack = field(default_factory=AsyncExitStack)

    def kills(self) -> int:
        """How many processes were killed so far."""
        return self.ledger.kills()

    def logs(self) -> dict[str, str]:
        """Everything its processes and servers wrote, by file."""
        return self.installation.logs() | {"postgres.log": self.postgres_log.read_text(errors="replace")}


@dataclass(frozen=True)
class Scenario:
    """A way to do harm: the row of the matrix in docs/faults.md, a name, and what is done. What it breaks it mends by what
    it leaves on `run.on_heal`; processes that died are started again without it."""

    row: int
    name: str
    harm: Callable[[Run], Awaitable[None]]


@dataclass(frozen=True)
class Outcome:
    """What came of one scenario under one seed."""

    seed: int
    row: int
    name: str
    kills: int
    points: tuple[str, ...]
    commands: int
    events: int
    mails: int
    seconds: float
    converged_seconds: float
    findings: tuple[Finding, ...]


async def play(run: Run, seed: int, scenarios: Sequence[Scenario]) -> list[Outcome]:
    """Play the scenarios one after the other, up to the first that leaves a finding: nothing after it would prove
    anything. The seed decides what people and faults do from here on."""
    run.random.seed(seed)
    outcomes: list[Outcome] = []
    for scenario in scenarios:
        outcomes.append(await _play(run, seed, scenario))
        if outcomes[-1].findings:
            break
    return outcomes


@asynccontextmanager
async def installed(servers: Servers, name: str) -> AsyncIterator[Run]:
    """An installation at work; `name` is that of its folder."""
    random, ledger, folder = Random(0), Ledger(), servers.folder / name  # noqa: S311  to be repeated, no secret
    ledger.secrets[SECRET_KEY] = "VIGIL_SECRET_KEY"
    async with AsyncExitStack() as stack:
        database_url = await stack.enter_async_context(servers.database())
        world = World(folder / "mail", ledger, now=utc_now)
        await world.start()
        stack.push_async_callback(world.stop)
        installation = Installation(
            servers.launcher,
            folder / "data",
            database_url,
            ledger,
            VIGIL_SMTP_URL=world.smtp_url,
            VIGIL_SMTP_RETRY_BASE_SECONDS="0.5",
            VIGIL_FETCH_ALLOW_NETWORKS="127.0.0.0/8",
            VIGIL_MIN_INTERVAL_SECONDS="1",
        )
        stack.callback(installation.close)
        pool = await stack.enter_async_context(open_pool(database_url, size_max=6, name="fault suite"))
        session = await stack.enter_async_context(_session())
        people = [Person(person, session, installation.api_url, ledger) for person in PEOPLE]
        load = Load(people, world, ledger, random)
        store = PostgresEventStore(pool, new_id=new_id)
        bulk, fleet = Bulk(store, ledger, random, now=utc_now()), Fleet(store, random)
        for place, roles in LAYOUT.items():
            installation.start(place, *roles)
        watching = asyncio.create_task(installation.watch())
        stack.push_async_callback(_cancel, watching)
        yield Run(random, ledger, installation, world, load, bulk, fleet, pool, database_url, servers.postgres_log)


async def _play(run: Run, seed: int, scenario: Scenario) -> Outcome:
    """Harm under load, heal, wait until everything is done, check."""
    began, kills, deaths = time.monotonic(), run.kills(), len(run.ledger.deaths)
    commands, mails = len(run.ledger.commands), len(run.ledger.mails)
    stored: Stored | None = None
    findings: list[Finding] = []
    healed = began
    try:
        await run.load.set_up()
        if not run.fleet.ships:
            await run.fleet.grow(run.world.shop_urls("fleet", SHIPS), every_seconds=1)
        async with asyncio.timeout(HARM_SECONDS_MAX + 2 * CONVERGES_WITHIN_SECONDS), _working(run):
            await scenario.harm(run)
            healed = time.monotonic()
            await heal(run)
            await _on_time(run)
        stored = await at_rest(run)
    except* _TROUBLES as errors:
        findings += _not_converged(errors)
    converged = time.monotonic() - healed
    if stored is not None:
        findings += check(run.ledger, stored, run.logs())
    if not findings:
        try:
            await run.load.resume()
            await run.fleet.resume()
        except* _TROUBLES as errors:
            findings += _not_converged(errors)
    dead, events = run.ledger.deaths[deaths:], len(stored.events) if stored else run.events
    outcome = Outcome(
        seed=seed,
        row=scenario.row,
        name=scenario.name,
        kills=run.kills() - kills,
        points=tuple(death.crash_point for death in dead if death.crash_point),
        commands=len(run.ledger.commands) - commands,
        events=events - run.events,
        mails=len(run.ledger.mails) - mails,
        seconds=time.monotonic() - began,
        converged_seconds=converged,
        findings=tuple(findings),
    )
    run.events = events
    return outcome


def _not_converged(errors: BaseExceptionGroup[Exception]) -> list[Finding]:
    return [Finding(Invariant.CONVERGES, f"{error!r}") for error in errors.exceptions]


@asynccontextmanager
async def _working(run: Run) -> AsyncIterator[None]:
    """People at work until leaving, who then finish what they began; cut short when the harm itself fails."""
    stop = asyncio.Event()
    working = asyncio.create_task(run.load.run(stop))
    try:
        yield
        stop.set()
        await working
    finally:
        await _cancel(working)


async def heal(run: Run) -> None:
    """Mend everything that was broken, and let nobody die any more."""
    await run.on_heal.aclose()
    await run.installation.disarm()


async def at_rest(run: Run) -> Stored:
    """Let no monitor be due any more, wait until everything is done, and read what is stored; the read tables are built
    again from nothing meanwhile, and those from before kept to be compared.

    Raises `TimeoutError` that names what is not done within `CONVERGES_WITHIN_SECONDS`.
    """
    await run.on_rest.aclose()
    await run.load.pause()
    await run.fleet.pause()
    await _settled(run)
    await rebuild(run)
    await _settled(run)
    async with run.pool.connection() as connection:
        return await read_stored(connection, before=PREVIOUS, poison=run.ledger.poison)


async def rebuild(run: Run, **armed: str) -> None:
    """Run `vigil projections rebuild core` to its end; armed, until it dies. Raises `TimeoutError`."""
    process = run.installation.run(["projections", "rebuild", "core"], "rebuild.log", **armed)
    status = await asyncio.to_thread(process.wait, REBUILD_SECONDS_MAX)
    if armed:
        run.installation.bury("rebuild", ("rebuild",), process)
    elif status != 0:
        run.ledger.troubles.append(f"a rebuild ended with status {status}: {process.said()[-500:]}")


async def _left(run: Run) -> list[str]:
    async with run.pool.connection() as connection:
        left = await unfinished(connection, run.ledger.poison)
    with run.installation.redis() as client:
        left += unfinished_jobs(client)
    told = [mail.text for mail in run.ledger.mails]
    left += [
        f"no mail yet of the price {flip.price}"
        for flip in run.ledger.flips
        if flip.seen and not any(str(flip.price) in text for text in told)
    ]
    return left


async def _on_time(run: Run) -> None:
    """Return when no monitor waits longer than its interval; raises `TimeoutError` that tells how many do."""
    late = "it is not known whether a monitor waits longer than its interval"
    try:
        async with asyncio.timeout(CONVERGES_WITHIN_SECONDS):
            while late:
                async with run.pool.connection() as connection:
                    late = await overdue(connection)
                await asyncio.sleep(LOOK_SECONDS if late else 0)
    except TimeoutError:
        raise TimeoutError(f"{late}, {CONVERGES_WITHIN_SECONDS:g} s after everything was mended") from None


async def _settled(run: Run) -> None:
    """Return when nothing is left to do; raises `TimeoutError` that names what is."""
    left: list[str] = []
    try:
        async with asyncio.timeout(CONVERGES_WITHIN_SECONDS):
            while left := await _left(run):  # noqa: ASYNC110  the tables tell nobody that they have come to rest
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        raise TimeoutError(f"not done within {CONVERGES_WITHIN_SECONDS:g} s: {'; '.join(left)}") from None


@asynccontextmanager
async def _session() -> AsyncIterator[aiohttp.ClientSession]:
    """Every request on a connection of its own: which of them a dying server cut is then plain to see."""
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS_MAX)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True), timeout=timeout) as session:
        yield session


async def _cancel(task: "asyncio.Task[None]") -> None:
    """End a task; what it failed with was told to who awaited it."""
    task.cancel()
    await asyncio.wait([task])
