"""What goes when a person is erased, beside the key to their events."""

from typing import LiteralString
from uuid import UUID

import psycopg
from psycopg.rows import TupleRow

# Everything that is kept of a person beside their events, which lose their key. Read tables follow with the projection.
_ERASE: tuple[LiteralString, ...] = (
    """
    insert into person_key (owner_id, destroyed_at) values (%(id)s, now())
    on conflict (owner_id) do update
    set wrapped = null, wrapping_key_id = null, destroyed_at = coalesce(person_key.destroyed_at, now())
    """,
    "delete from credential where user_id = %(id)s",
    "delete from session where user_id = %(id)s",
    "delete from command_receipt where owner_id = %(id)s",
    "delete from evaluation_request where owner_id = %(id)s",
    "delete from signal_watch where owner_id = %(id)s",
    "delete from signal_secret where owner_id = %(id)s",
    "delete from signal_source where owner_id = %(id)s",
    "delete from dead_job where owner_id = %(id)s",
    "delete from snapshot where owner_id = %(id)s",
    # A scope that is a person's own ends with their id; what else they hold, their stream does.
    "delete from reservation where stream_id = %(id)s or split_part(scope, ':', 2) = %(id)s::text",
    # Whoever records an evaluation writes what a source answered, then the schedule: this waits for them, or they for it.
    "select from schedule where owner_id = %(id)s order by monitor_id for update",
    """
    delete from source_memory where monitor_id in (
        select monitor_id from schedule where owner_id = %(id)s
        union all select id from monitors where owner_id = %(id)s
    )
    """,
    "delete from schedule where owner_id = %(id)s",
    # What they asked in no hurry. Who holds the lock of the person's writers puts nothing there any more.
    "delete from waiting_inquiry where owner_id = %(id)s",
    "delete from waiting_look where owner_id = %(id)s",
    # What a call under way costs was sold to the installation, which goes on owing it.
    "select from model_call_open where owner_id = %(id)s order by id for update",
    """
    update model_call_open
    set owner_id = '00000000-0000-7000-8000-000000000000', monitor_id = null, evaluation_id = null
    where owner_id = %(id)s
    """,
    "delete from model_spending where scope = %(id)s",
    # Other programs' states of this person's streams, which nobody sealed.
    """
    delete from eventsourcing_snapshot where originator_id in (
        select %(id)s::uuid
        union all select id from monitors where owner_id = %(id)s
        union all select id from actions where owner_id = %(id)s
        union all select id from triggers where owner_id = %(id)s
        union all select id from notifications where owner_id = %(id)s
        union all select id from signal_sources where owner_id = %(id)s
        union all select id from signals where owner_id = %(id)s
    )
    """,
    "delete from delivery_claim where notification_id in (select id from notifications where owner_id = %(id)s)",
    # What a table refused is quoted in PostgreSQL's words. What waits behind it goes on waiting.
    """
    update parked p set error = 'erased' from event e
    where e.stream_id = p.stream_id and e.version = 1 and e.owner_id = %(id)s and p.error <> 'behind'
    """,
)


async def erase_person(connection: psycopg.AsyncConnection[TupleRow], user_id: UUID) -> None:
    """Destroy the key and delete the rest, on a connection that is inside the transaction of the event that says so."""
    for statement in _ERASE:
        await connection.execute(statement, {"id": user_id})
