"""Records stored events as they are today, for every program to come: `make golden`.

    shapes.json             the shape of each version of each event that was ever stored
    <tag>/v<n>.json         events of version n as they were stored then
    <tag>/v<n>.now.json     what the present program makes of those of an older version
    history-<n>.ndjson.zst  a log in which everything happens that was stored then
    history-<n>.json        what must come of it

What is there is never overwritten, unless a version says that it may change: a `.now.json` when its event got another
version, the states of a history when their `SnapshotRule` did, its read tables when the projection did.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from adapters import yoyo_migrations
from adapters.embedded_postgres import EmbeddedPostgres
from adapters.postgres_pool import open_pool
from domain.event import event_types
from domain.event_codec import decode, encode
from domain.shape import shape_of
from tests.golden.everything import Everything
from tests.golden.examples import examples_of
from tests.golden.histories import (
    Outcome,
    entries_of,
    histories,
    outcome_file,
    outcome_of,
    outcome_recorded,
    write_history,
)
from tests.golden.shapes import FOLDER, SHAPES, faults, recorded_shapes

HISTORY_ENTRIES = 350


class Now(msgspec.Struct, frozen=True):
    """What the events of an older version look like in the present `version`."""

    version: int
    events: list[msgspec.Raw]


def golden_file(tag: str, version: int) -> Path:
    """Where events of a version stand as they were stored."""
    return FOLDER / tag / f"v{version}.json"


def now_file(tag: str, version: int) -> Path:
    """Where the same events stand as the present program reads them."""
    return FOLDER / tag / f"v{version}.now.json"


def golden_of(tag: str, version: int) -> list[bytes]:
    """The recorded events of a version, as they were stored."""
    return list(map(bytes, msgspec.json.decode(golden_file(tag, version).read_bytes(), type=list[msgspec.Raw])))


def now_recorded(tag: str, version: int) -> Now:
    """What was recorded of how the present program reads an older version."""
    return msgspec.json.decode(now_file(tag, version).read_bytes(), type=Now)


def record_events() -> Iterator[Path]:
    """Record what is missing of the present versions, and how older ones are read now."""
    shapes = {tag: dict(versions) for tag, versions in recorded_shapes().items()}
    for tag, cls in event_types().items():
        version = cls.tag_version
        if not golden_file(tag, version).exists():
            golden_file(tag, version).parent.mkdir(exist_ok=True)
            yield _write(golden_file(tag, version), [msgspec.Raw(encode(event)) for event in examples_of(cls)])
        for older in range(1, version):
            if not now_file(tag, older).exists() or now_recorded(tag, older).version != version:
                events = [msgspec.Raw(encode(decode(tag, older, data))) for data in golden_of(tag, older)]
                yield _write(now_file(tag, older), Now(version, events))
        shapes.setdefault(tag, {}).setdefault(str(version), shape_of(cls))
    if shapes != recorded_shapes():
        yield _write(SHAPES, dict(sorted(shapes.items())))


def record_history() -> Iterator[Path]:
    """Record another history when something can be stored that is in none so far."""
    known = {(entry.type, entry.type_version) for history in histories() for entry in entries_of(history)}
    if not {(tag, cls.tag_version) for tag, cls in event_types().items()} <= known:
        number = len(histories()) + 1
        yield write_history(number, list(Everything(number, people=3, monitors_each=2).entries(HISTORY_ENTRIES)))


async def record_outcomes(database_url: str) -> list[Path]:
    """Record what comes of each history, where it may have changed."""
    written = []
    async with open_pool(database_url, size_max=1) as pool:
        for history in histories():
            now, recorded = await outcome_of(pool, entries_of(history)), outcome_recorded(history)
            outcome = now if recorded is None else _permitted(recorded, now)
            if outcome != recorded:
                written.append(_write(outcome_file(history), outcome))
    return written


def _permitted(recorded: Outcome, now: Outcome) -> Outcome:
    """What is recorded, but for what belongs to another version by now."""
    same_version = recorded.projection_version == now.projection_version
    return Outcome(
        log_hash=recorded.log_hash,
        states={shape: recorded.states.get(shape, digest) for shape, digest in now.states.items()},
        projection_version=now.projection_version,
        tables=recorded.tables if same_version else now.tables,
    )


def _write(path: Path, document: object) -> Path:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
    return path


def main() -> None:
    """Record, and tell what was written. Refuses while stored events cannot be read."""
    found = list(faults(recorded_shapes(), event_types()))
    if found:
        raise SystemExit("\n\n".join(found))
    written = [*record_events(), *record_history()]
    with TemporaryDirectory(prefix="vigil-golden-") as folder:
        server = EmbeddedPostgres(Path(folder), fsync=False)
        try:
            database_url = server.start()
            yoyo_migrations.up(database_url)
            written += asyncio.run(record_outcomes(database_url))
        finally:
            server.stop()
    lines = [f"wrote {path.relative_to(FOLDER.parents[1])}" for path in written]
    print("\n".join(lines or ["everything is recorded already"]))  # noqa: T201  a command tells what it did


if __name__ == "__main__":
    main()
