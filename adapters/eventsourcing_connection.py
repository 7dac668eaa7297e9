"""Synchronous connections to a Vigil store for the `eventsourcing` library, whose interfaces are synchronous."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

import psycopg
from eventsourcing import persistence
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool

from adapters.postgres_appending import EXPECTED_VERSION_AHEAD
from adapters.postgres_pool import SESSION_SETTINGS

Connection = psycopg.Connection[TupleRow]

CONNECTIONS_MAX = 10
CONNECTION_PATIENCE_SECONDS = 30.0

# The library tells errors as PEP 249 does, so each has its namesake; the narrower ones come first.
_NAMESAKES = (
    (psycopg.InterfaceError, persistence.InterfaceError),
    (psycopg.OperationalError, persistence.OperationalError),
    (psycopg.DataError, persistence.DataError),
    (psycopg.IntegrityError, persistence.IntegrityError),
    (psycopg.InternalError, persistence.InternalError),
    (psycopg.ProgrammingError, persistence.ProgrammingError),
    (psycopg.NotSupportedError, persistence.NotSupportedError),
    (psycopg.DatabaseError, persistence.DatabaseError),
)


class Access(StrEnum):
    """What may be done with a store: an auditor reads."""

    READ = "read"
    WRITE = "write"


class StoreConnections:
    """A pool of connections in autocommit mode; the first one is made on first use.

    With `Access.READ` PostgreSQL itself refuses to write on them. Nothing is ever tried twice here: an insert whose
    answer was lost may have been carried out, and a second try would report a conflict with itself.
    """

    def __init__(self, database_url: str, access: Access) -> None:
        self.access = access
        read_only = " -c default_transaction_read_only=on" if access is Access.READ else ""
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            database_url,
            min_size=0,
            max_size=CONNECTIONS_MAX,
            timeout=CONNECTION_PATIENCE_SECONDS,
            open=True,
            kwargs={
                "autocommit": True,
                # A plan that is kept is one made for other numbers: made while the store is empty, it reads all of it.
                "prepare_threshold": None,
                "application_name": "vigil-eventsourcing",
                "options": SESSION_SETTINGS + read_only,
            },
        )

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection; what psycopg raises on it becomes the library's error of the same name."""
        try:
            with self._pool.connection() as connection:
                yield connection
        except psycopg.Error as error:
            raise _namesake(error) from error

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection to write on. Raises the library's `NotSupportedError` when the store was opened for reading."""
        if self.access is not Access.WRITE:
            raise persistence.NotSupportedError(
                "this store was opened for reading; STORE_ACCESS=write opens it for both"
            )
        with self.reading() as connection:
            yield connection

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


def _namesake(error: psycopg.Error) -> persistence.PersistenceError:
    if error.sqlstate == EXPECTED_VERSION_AHEAD:
        return persistence.IntegrityError(str(error))
    for theirs, ours in _NAMESAKES:
        if isinstance(error, theirs):
            return ours(str(error))
    return persistence.PersistenceError(str(error))
