"""Migrations go up and down, and schema.sql is what they add up to."""

import re
import subprocess
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from adapters import yoyo_migrations
from adapters.embedded_postgres import program
from tests.conftest import database_url

SCHEMA = Path(yoyo_migrations.__file__).parents[1] / "schema.sql"


@pytest.fixture
def empty_database(postgres_url: str, request: pytest.FixtureRequest) -> str:
    name = f"e{abs(hash(request.node.name)):x}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    return database_url(postgres_url, name)


def shape(url: str) -> str:
    """What pg_dump tells of the schema, without the migration tool's own tables and dump-specific noise."""
    dump = subprocess.run(
        [program("pg_dump"), "--schema-only", "--no-owner", "--exclude-table=*yoyo*", url],
        check=True,
        capture_output=True,
        text=True,
    )
    return re.sub(r"(?m)^(--.*|\\(un)?restrict.*)?\n", "", dump.stdout)


def test_schema_sql_is_what_the_migrations_add_up_to(empty_database: str, database: str) -> None:
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute(SCHEMA.read_text().encode())
    assert shape(empty_database) == shape(database)


def test_every_migration_can_be_taken_back_and_applied_again(empty_database: str) -> None:
    empty = shape(empty_database)
    names = yoyo_migrations.up(empty_database)
    assert names == sorted(path.stem for path in yoyo_migrations.FOLDER.glob("*.sql") if ".rollback" not in path.name)
    full = shape(empty_database)
    assert full != empty
    for name in reversed(names):
        assert yoyo_migrations.down(empty_database) == [name]
    assert shape(empty_database) == empty
    assert yoyo_migrations.up(empty_database) == names
    assert shape(empty_database) == full


def test_applying_twice_changes_nothing(empty_database: str) -> None:
    yoyo_migrations.up(empty_database)
    assert yoyo_migrations.up(empty_database) == []
    assert all(migration.applied for migration in yoyo_migrations.status(empty_database))


def test_a_password_with_reserved_characters_reaches_the_server(empty_database: str) -> None:
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute("drop role if exists odd")
        connection.execute("create role odd superuser login password 'a/b@c:d%e'")
    odd = empty_database.replace("//postgres@", "//odd:a%2Fb%40c%3Ad%25e@").replace(
        "//postgres:@", "//odd:a%2Fb%40c%3Ad%25e@"
    )
    assert odd != empty_database
    assert yoyo_migrations.up(odd)
