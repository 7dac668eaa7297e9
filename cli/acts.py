"""What operators do to the installation is an event of its own, which says who did it."""

import getpass
import os

from adapters.postgres_event_store import PostgresEventStore
from adapters.postgres_pool import Pool
from bootstrap.now_and_new import new_id
from commands.operations import record_operation
from domain.operation import OperationEvent


def operator() -> str:
    """Who does it, as events name actors: an account of this machine, by its number where it has no name."""
    try:
        account = getpass.getuser()
    except (KeyError, OSError):  # KeyError until Python 3.12
        account = str(os.getuid())
    return f"operator:{account}"


async def record_act(pool: Pool, act: OperationEvent) -> None:
    """Write down what the operator does."""
    await record_operation(PostgresEventStore(pool, new_id=new_id), act, actor=operator(), new_id=new_id)
