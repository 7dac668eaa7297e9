"""Schema migrations with yoyo: numbered plain SQL with its way back, each applied in its own transaction."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import yoyo

import migrations

FOLDER = Path(migrations.__file__).parent

logging.getLogger("yoyo.migrations").setLevel(logging.WARNING)


class MigrationStatus(msgspec.Struct, frozen=True):
    """A migration's name and whether the database has it."""

    name: str
    applied: bool


def status(database_url: str) -> list[MigrationStatus]:
    """All migrations, oldest first. Only reads, so that the application's role may ask: yoyo would make its tables."""
    with psycopg.connect(database_url) as connection:
        begun = connection.execute("select to_regclass('_yoyo_migration') is not null").fetchone()
        rows = connection.execute("select migration_id from _yoyo_migration").fetchall() if begun == (True,) else []
    applied = {row[0] for row in rows}
    return [MigrationStatus(migration.id, migration.id in applied) for migration in _migrations()]


def up(database_url: str) -> list[str]:
    """Apply what is missing, under a lock that makes a second caller wait. The names of what was applied."""
    with _backend(database_url) as backend, _alone(backend):
        waiting = backend.to_apply(_migrations())
        backend.apply_migrations(waiting)
        return [migration.id for migration in waiting]


def down(database_url: str, *, steps: int = 1) -> list[str]:
    """Take back the newest `steps` migrations and everything stored in their tables. The names of what was undone."""
    with _backend(database_url) as backend, _alone(backend):
        applied = backend.to_rollback(_migrations())[:steps]
        backend.rollback_migrations(applied)
        return [migration.id for migration in applied]


def _migrations() -> Any:  # noqa: ANN401  yoyo is untyped
    """The migrations, oldest first; yoyo would take the package's own `__init__.py` for one."""
    return yoyo.read_migrations(str(FOLDER)).filter(lambda migration: migration.path.endswith(".sql"))


@contextmanager
def _alone(backend: Any) -> Iterator[None]:  # noqa: ANN401  yoyo is untyped
    """A lock that ends with its session: yoyo's own is a row, which a killed process leaves behind for ever."""
    cursor = backend.connection.cursor()
    cursor.execute("select pg_advisory_lock(hashtextextended('vigil migrations', 0))")
    try:
        yield
    finally:
        cursor.execute("select pg_advisory_unlock(hashtextextended('vigil migrations', 0))")


@contextmanager
def _backend(database_url: str) -> Iterator[Any]:
    """A yoyo backend on psycopg 3, closed afterwards."""
    scheme, _, rest = database_url.partition("://")
    if scheme not in {"postgresql", "postgres"}:
        raise ValueError(f"a database URL starts with postgresql://, this one with {scheme}://")
    backend = yoyo.get_backend(f"postgresql+psycopg://{rest}")
    try:
        yield backend
    finally:
        backend.connection.close()
