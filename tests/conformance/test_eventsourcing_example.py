"""The example in the documentation does what it says, on a store with a history that could have happened."""

import re
from pathlib import Path

import psycopg
import pytest

from adapters.eventsourcing_connection import Access, StoreConnections
from adapters.eventsourcing_sequencer import sequence_batch
from benchmarks.filling import copy_events
from benchmarks.history import History

PAGE = Path(__file__).parents[2] / "docs/eventsourcing.md"


@pytest.fixture
def store(database: str) -> str:
    """A store with sixty events, sequenced."""
    copy_events(database, list(History(70, people=1, monitors_each=1).entries(60))[:60])
    connections = StoreConnections(database, Access.WRITE)
    with connections.writing() as connection:
        assert sequence_batch(connection)
    connections.close()
    return database


def test_the_example_prints_what_the_page_says(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    page = PAGE.read_text()
    (code,) = re.findall(r"(?ms)^```python\n(.*?)^```", page)
    (output,) = re.findall(r"(?ms)^```text\n(.*?)^```", page)
    exec(compile(code, str(PAGE), "exec"), {"database_url": store})  # noqa: S102  the page's own code
    assert capsys.readouterr().out == output


def test_an_auditors_role_needs_no_more_than_select(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    with psycopg.connect(store, autocommit=True) as connection:
        connection.execute("do $$ begin create role auditor login; exception when duplicate_object then end $$")
        connection.execute("grant select on event, event_log, log_head to auditor")
    (code,) = re.findall(r"(?ms)^```python\n(.*?)^```", PAGE.read_text())
    as_auditor = store.replace("//postgres@", "//auditor@")
    assert as_auditor != store
    exec(compile(code, str(PAGE), "exec"), {"database_url": as_auditor})  # noqa: S102  the page's own code
    assert "The log has 60 events" in capsys.readouterr().out
