"""The checker is a program too: every bug planted into a sound installation makes exactly the right invariant scream."""

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest

from adapters.postgres_exchange import PREVIOUS
from bootstrap.now_and_new import utc_now
from faults.invariants import Finding, Invariant, check
from faults.ledger import Attempt, Command, Death, Flip, Ledger, Mail, Read, Sent
from faults.run import at_rest, installed
from faults.servers import Servers
from faults.stored import Stored, overdue, read_stored

I = Invariant  # noqa: E741  the invariants are called I1 to I10


@dataclass(frozen=True)
class Sound:
    """A sound installation after an hour's work in some seconds, at rest, its processes ended."""

    ledger: Ledger
    stored: Stored
    logs: dict[str, str]
    servers: Servers
    database_url: str


@pytest.fixture(scope="module")
async def sound(servers: Servers) -> AsyncIterator[Sound]:
    async with installed(servers, "sound") as run:
        await run.load.set_up()
        stop = asyncio.Event()
        working = asyncio.create_task(run.load.run(stop))
        while len(run.ledger.commands) < 40:
            await run.bulk.append(10)
            await asyncio.sleep(0.1)
        stop.set()
        await working
        stored = await at_rest(run)
        for place in list(run.installation.members):
            await run.installation.dismiss(place)
        await run.pool.close()
        yield Sound(run.ledger, stored, run.logs(), servers, run.database_url)


def screams(findings: Sequence[Finding]) -> set[Invariant]:
    return {finding.invariant for finding in findings}


def test_a_sound_installation_makes_nobody_scream(sound: Sound) -> None:
    assert check(sound.ledger, sound.stored, sound.logs) == []
    assert len(sound.ledger.flips) >= 2
    assert len({read.person for read in sound.ledger.reads if read.status == 200}) == 2


IN_THE_STORE = {
    "an event is lost": (
        {I.LOG_IS_WHOLE},
        (
            "delete from event where (stream_id, version) ="
            " (select stream_id, version from event where type = 'evaluation.completed' order by seq limit 1)"
        ),
    ),
    "the event of an acknowledged command is lost": (
        {I.ACKNOWLEDGED_IS_STORED, I.LOG_IS_WHOLE},
        (
            "delete from event where type = 'trigger.created' and version = 1 and stream_id ="
            " (select id from read_model.triggers limit 1)"
        ),
    ),
    "an event was never sequenced": (
        {I.LOG_IS_WHOLE, I.CONVERGES, I.APPLIED_ONCE},
        "delete from event_log where position = (select max(position) from event_log)",
    ),
    "a position was skipped": (
        {I.LOG_IS_WHOLE},
        "update event_log set position = position + 1 where position = (select max(position) from event_log)",
    ),
    "a place was skipped": (
        {I.LOG_IS_WHOLE},
        (
            "update event_log set partition_position = partition_position + 1"
            " where position = (select max(position) from event_log)"
        ),
    ),
    "a version was skipped": (
        {I.LOG_IS_WHOLE},
        (
            "with moved as (update event set version = version + 1 where (stream_id, version) ="
            " (select stream_id, version from event where type = 'evaluation.completed' order by seq limit 1)"
            " returning stream_id, version)"
            " update event_log l set version = l.version + 1 from moved"
            " where l.stream_id = moved.stream_id and l.version = moved.version - 1"
        ),
    ),
    "the log is not in commit order": (
        {I.LOG_IS_WHOLE},
        (
            "update event set tx = '3' where (stream_id, version) ="
            " (select stream_id, version from event_log order by position desc limit 1)"
        ),
    ),
    "what was recorded was changed": (
        {I.LOG_IS_WHOLE},
        (
            "update event set data = data || '{\"late\": true}' where (stream_id, version) ="
            " (select stream_id, version from event_log order by position desc limit 1)"
        ),
    ),
    "somebody's event is in another's partition": (
        {I.LOG_IS_WHOLE, I.APPLIED_ONCE},
        (
            "update event_log set partition = (partition + 1) % 16, partition_position = 1000000"
            " where position = (select max(position) from event_log)"
        ),
    ),
    "a row drifted": ({I.TABLES_ARE_THE_LOG}, "update read_model_previous.actions set name = name || '!' where true"),
    "a row is missing": (
        {I.TABLES_ARE_THE_LOG},
        (
            "delete from read_model_previous.facts where (evaluation_id, name) ="
            " (select evaluation_id, name from read_model_previous.facts limit 1)"
        ),
    ),
    "a thing is shown as it was": (
        {I.TABLES_ARE_THE_LOG, I.APPLIED_ONCE},
        "update read_model.actions set version = version - 1 where true",
    ),
    "a consumer ran past the end": (
        {I.APPLIED_ONCE},
        "update checkpoint set position = position + 1 where (consumer, partition) = ('core', 3)",
    ),
    "a consumer stands still": (
        {I.APPLIED_ONCE, I.CONVERGES},
        "update checkpoint set position = position - 1 where position > 0 and consumer = 'notifier'",
    ),
    "an event is parked": (
        {I.CONVERGES},
        (
            "insert into parked (consumer, partition, place, stream_id, error)"
            " select 'core', partition, partition_position, stream_id, 'planted' from event_log limit 1"
        ),
    ),
    "an evaluation that was asked for is forgotten": (
        {I.CONVERGES},
        (
            "insert into evaluation_request (evaluation_id, monitor_id, owner_id, requested_at)"
            " select gen_random_uuid(), id, owner_id, now() from read_model.monitors limit 1"
        ),
    ),
    "an evaluation has two outcomes": (
        {I.EVALUATED_ONCE, I.LOG_IS_WHOLE, I.CONVERGES},
        (
            "insert into event (stream_id, version, owner_id, type, type_version, data, metadata, event_id)"
            " select stream_id, version + 1, owner_id, type, type_version, data, metadata, gen_random_uuid() from event"
            " where type = 'evaluation.completed' limit 1"
        ),
    ),
    "a slot was evaluated under two ids": (
        {I.EVALUATED_ONCE, I.LOG_IS_WHOLE, I.CONVERGES},
        (
            "insert into event (stream_id, version, owner_id, type, type_version, data, metadata, event_id)"
            " select gen_random_uuid(), 1, e.owner_id, type, type_version, data, metadata, gen_random_uuid() from event e"
            " where type = 'evaluation.completed' and not exists (select from event a where a.stream_id = e.stream_id"
            " and a.type = 'evaluation.requested') limit 1"
        ),
    ),
    "an evaluation that was asked for was never made": (
        {I.ANSWERED_IN_ORDER, I.LOG_IS_WHOLE},
        (
            "delete from event where type in ('evaluation.completed', 'evaluation.failed') and stream_id ="
            " (select stream_id from event where type = 'evaluation.requested' limit 1)"
        ),
    ),
    "a signal was judged by what another one said": (
        {I.ANSWERED_IN_ORDER, I.LOG_IS_WHOLE},
        (
            "update event set data = jsonb_set(data, '{inputs,temperature}', '77777') where stream_id ="
            " (select stream_id from event where type = 'evaluation.requested' and data->>'signal_id' is not null limit 1)"
            " and type = 'evaluation.completed'"
        ),
    ),
    "a command was carried out twice": (
        {I.ACKNOWLEDGED_IS_STORED, I.LOG_IS_WHOLE, I.CONVERGES},
        (
            "insert into event (stream_id, version, owner_id, type, type_version, data, metadata, event_id)"
            " select gen_random_uuid(), 1, owner_id, type, type_version, data, metadata, gen_random_uuid() from event"
            " where type = 'action.created' and metadata->>'command_id' is not null limit 1"
        ),
    ),
}


@pytest.mark.parametrize("bug", IN_THE_STORE)
async def test_a_bug_in_the_store_is_found(sound: Sound, bug: str) -> None:
    expected, planting = IN_THE_STORE[bug]
    async with (
        replace(sound.servers, template=sound.database_url.partition("?")[0].rpartition("/")[2]).database() as copied,
        await psycopg.AsyncConnection.connect(copied, autocommit=True) as connection,
    ):
        await connection.execute("set session_replication_role = replica")  # past the triggers that refuse it
        changed = await connection.execute(planting.encode())
        assert changed.rowcount > 0
        stored = await read_stored(connection, before=PREVIOUS)
    assert screams(check(sound.ledger, stored, sound.logs)) == expected


def twice(ledger: Ledger, message_id: str | None = None, died: tuple[str, ...] = ()) -> None:
    """The last mail about a price comes again an hour later, and meanwhile a process with these roles was killed."""
    prices = [str(flip.price) for flip in ledger.flips]
    mail = next(mail for mail in reversed(ledger.mails) if any(price in mail.text for price in prices))
    at = mail.received_at + timedelta(hours=1)
    ledger.mails.append(replace(mail, message_id=message_id or mail.message_id, received_at=at))
    if died:
        died_at = at - timedelta(minutes=1)
        ledger.deaths.append(Death("somebody", died, -9, None, asked=False, seconds=1.0, at=died_at))


def lose_mail(ledger: Ledger) -> None:
    price = str(ledger.flips[0].price)
    ledger.mails[:] = [mail for mail in ledger.mails if price not in mail.text]


def acknowledge_nothing(ledger: Ledger) -> None:
    told = Attempt(began_at=0.0, ended_at=0.1, status=201)
    ledger.commands.append(Command("ada", "POST", "/actions", "ada-999", None, [told], "0" * 32, 1))


def read_stale(ledger: Ledger) -> None:
    ledger.reads.append(Read("ada", "/actions/1", "3.7", 200, wanted=2, shown=1, names=()))


def read_nothing(ledger: Ledger) -> None:
    ledger.reads.append(Read("ada", "/actions/1", "3.7", 404, wanted=1, shown=None, names=()))


def read_anothers(ledger: Ledger) -> None:
    name = next(iter(ledger.own_names["grace"]))
    ledger.reads.append(Read("ada", "/actions", "3.7", 200, wanted=1, shown=1, names=(name,)))


def mail_anothers(ledger: Ledger) -> None:
    ledger.mails.append(Mail("ada@example.org", "<planted>", "grace-1 is active", "", utc_now()))


IN_THE_WORLD: dict[str, tuple[set[Invariant], Callable[[Ledger], object]]] = {
    "an acknowledged command left nothing": ({I.ACKNOWLEDGED_IS_STORED}, acknowledge_nothing),
    "a mail came again under another id": ({I.MAILED_ONCE}, lambda ledger: twice(ledger, message_id="<other>")),
    "a mail came again without an excuse": ({I.MAILED_ONCE}, twice),
    "a mail came again and a death excuses it": (
        set(),
        lambda ledger: twice(ledger, died=("notifier", "mailer")),
    ),
    "a mail came again and another death does not": (
        {I.MAILED_ONCE},
        lambda ledger: twice(ledger, died=("relay", "projector")),
    ),
    "a mail never came": ({I.MAILED_ONCE}, lose_mail),
    "a mail tells of a price that never was": (
        {I.MAILED_ONCE},
        lambda ledger: ledger.mails.append(Mail("ada@example.org", "<planted>", "", "price 19999", utc_now())),
    ),
    "somebody was shown another's thing": ({I.NOBODY_ELSES}, read_anothers),
    "somebody got a mail about another's thing": ({I.NOBODY_ELSES}, mail_anothers),
    "a signal was taken and not evaluated": (
        {I.ANSWERED_IN_ORDER},
        lambda ledger: ledger.signals.append(Sent("ada", "ada-x", 999_999, (str(UUID(int=1)),))),
    ),
    "a signal was taken and asked for nothing": (
        {I.ANSWERED_IN_ORDER},
        lambda ledger: ledger.signals.append(Sent("ada", "ada-x", 999_999, ())),
    ),
    "a price was never noticed": ({I.CONVERGES}, lambda ledger: ledger.flips.append(Flip("ada", "", 19998))),
    "a process ended by itself": (
        {I.CONVERGES},
        lambda ledger: ledger.deaths.append(Death("log", ("relay",), 1, None, asked=False, seconds=1.0, at=utc_now())),
    ),
    "a read was stale": ({I.READS_OWN_WRITES}, read_stale),
    "a read found nothing": ({I.READS_OWN_WRITES}, read_nothing),
}


@pytest.mark.parametrize("bug", IN_THE_WORLD)
def test_a_bug_in_the_world_is_found(sound: Sound, bug: str) -> None:
    expected, plant = IN_THE_WORLD[bug]
    ledger = copy.deepcopy(sound.ledger)
    plant(ledger)
    assert screams(check(ledger, sound.stored, sound.logs)) == expected


def test_signals_that_were_evaluated_in_another_order_are_found(sound: Sound) -> None:
    asked = [sent.evaluations[0] for sent in sound.ledger.signals if sent.person == "ada" and sent.evaluations]
    assert len(asked) >= 2
    first, second = (next(o for o in sound.stored.outcomes if o.evaluation_id == asked[n]) for n in (0, 1))
    others = [outcome for outcome in sound.stored.outcomes if outcome not in {first, second}]
    turned = replace(sound.stored, outcomes=[second, first, *others])
    assert screams(check(sound.ledger, turned, sound.logs)) == {I.ANSWERED_IN_ORDER}


async def test_a_monitor_that_waits_longer_than_its_interval_is_found(sound: Sound) -> None:
    async with (
        replace(sound.servers, template=sound.database_url.partition("?")[0].rpartition("/")[2]).database() as copied,
        await psycopg.AsyncConnection.connect(copied, autocommit=True) as connection,
    ):
        assert await overdue(connection) == ""
        hour = "update schedule set active = true, due_at = now() - interval '1 hour' where schedule->>'seconds' = '1'"
        assert (await connection.execute(hour)).rowcount == 2
        assert (await overdue(connection)).startswith("2 monitors wait longer than their interval, one since 3600.")


def test_a_change_judged_twice_is_found(sound: Sound) -> None:
    again = replace(sound.stored, judgements=[*sound.stored.judgements, sound.stored.judgements[0]])
    assert screams(check(sound.ledger, again, sound.logs)) == {I.APPLIED_ONCE}


def test_every_kind_of_secret_is_found_in_a_log(sound: Sound) -> None:
    kinds = {meaning.rpartition(" of ")[0] for meaning in sound.ledger.secrets.values()}
    tokens = {"a link token", "the access token", "the refresh token"}
    assert kinds == {"", "the password", "the signal secret", *tokens}
    for secret in sound.ledger.secrets:
        logs = {**sound.logs, "api.log": f"something failed: {secret}!"}
        assert screams(check(sound.ledger, sound.stored, logs)) == {I.NO_SECRETS_IN_LOGS}
