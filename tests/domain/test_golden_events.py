"""Everything that was ever stored can be read, and nobody changes that without noticing."""

import shutil
from pathlib import Path
from typing import ClassVar

import msgspec
import pytest

from adapters.postgres_pool import Pool
from domain.event import Event, event_types
from domain.event_codec import AGGREGATES, decode, decode_entry, encode
from domain.shape import fingerprint_of, shape_of
from read_api.stream_states import AGGREGATES as FOLDS
from tests.golden import record, shapes
from tests.golden.everything import Everything
from tests.golden.examples import examples_of
from tests.golden.histories import entries_of, histories, outcome_of, outcome_recorded
from tests.golden.record import HISTORY_ENTRIES, golden_of, now_recorded
from tests.golden.shapes import FOLDER, Shapes, faults, missing, recorded_shapes

STORED = sorted((tag, int(version)) for tag, versions in recorded_shapes().items() for version in versions)


def test_the_shape_of_no_stored_event_changed_without_a_new_version() -> None:
    assert AGGREGATES
    found = [*faults(recorded_shapes(), event_types()), *missing(recorded_shapes(), event_types())]
    assert not found, "\n\n".join(["", *found])


def test_every_version_of_every_event_has_its_golden_file() -> None:
    files = {(path.parent.name, int(path.stem.removeprefix("v"))) for path in FOLDER.glob("*/v?.json")}
    assert files == set(STORED)
    assert set(STORED) == {
        (tag, version) for tag, cls in event_types().items() for version in range(1, cls.tag_version + 1)
    }


@pytest.mark.parametrize(("tag", "version"), STORED)
def test_a_golden_event_is_read_as_it_was_meant_and_folds(tag: str, version: int) -> None:
    stored, present = golden_of(tag, version), event_types()[tag].tag_version
    expected = stored
    if version < present:
        now = now_recorded(tag, version)
        assert now.version == present, (
            f"{tag} has another version: run `make golden` and look at what it makes of old ones"
        )
        expected = list(map(bytes, now.events))
    events = [decode(tag, version, data) for data in stored]
    assert [msgspec.json.decode(encode(event)) for event in events] == [msgspec.json.decode(data) for data in expected]
    if (aggregate := FOLDS.get(tag.partition(".")[0])) is not None:
        for event in events:
            aggregate.fold([event])


def test_examples_show_each_alternative_and_optional_fields_with_and_without_a_value() -> None:
    plans = [msgspec.json.decode(data)["plan"] for data in golden_of("monitor.created", 1)]
    assert {plan["schedule"]["kind"] for plan in plans} == {"every", "cron"}
    assert {source["type"] for plan in plans for source in plan["sources"]} == {"http", "feed"}
    assert {fact["type"] for plan in plans for fact in plan["facts"]} == {
        "number",
        "boolean",
        "text",
        "list",
        "timestamp",
    }
    assert {"unit" in fact for plan in plans for fact in plan["facts"]} == {True, False}
    assert {bool(plan["facts"]) for plan in plans} == {True, False}
    values = [msgspec.json.decode(data)["fact"]["value"] for data in golden_of("evaluation.fact_extracted", 1)]
    assert {type(value) for value in values} >= {bool, float, str, list}


class Leaf(msgspec.Struct, frozen=True, kw_only=True):
    unit: str
    note: str | None = None


class Boiled(Event, frozen=True, kw_only=True):
    """As it was recorded."""

    tag: ClassVar[str] = "kettle.boiled"
    tag_version: ClassVar[int] = 1
    celsius: float
    leaves: tuple[Leaf, ...] = ()


class FieldChanged(Boiled, frozen=True, kw_only=True):
    celsius: int


class FieldAdded(Boiled, frozen=True, kw_only=True):
    place: str


class OptionalFieldAdded(Boiled, frozen=True, kw_only=True):
    place: str | None = None


class DefaultChanged(Boiled, frozen=True, kw_only=True):
    leaves: tuple[Leaf, ...] = (Leaf(unit="C"),)


class FieldRemoved(Event, frozen=True, kw_only=True):
    tag: ClassVar[str] = "kettle.boiled"
    tag_version: ClassVar[int] = 1
    celsius: float


class OtherLeaf(msgspec.Struct, frozen=True, kw_only=True):
    unit: str
    note: str


class NestedChanged(Boiled, frozen=True, kw_only=True):
    leaves: tuple[OtherLeaf, ...] = ()  # type: ignore[assignment]  # that is the change


class Described(Boiled, frozen=True, kw_only=True):
    """Another docstring, another class, the same shape."""


class Anew(FieldAdded, frozen=True, kw_only=True):
    tag_version: ClassVar[int] = 2


RECORDED: Shapes = {"kettle.boiled": {"1": shape_of(Boiled)}}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (FieldChanged, ["-celsius: float", "+celsius: int"]),
        (FieldAdded, ["+place: str"]),
        (OptionalFieldAdded, ["+place: none | str = null"]),
        (DefaultChanged, ["-leaves: [struct] = []", '+leaves: [struct] = [{"unit":"C","note":null}]']),
        (FieldRemoved, ["-leaves: [struct] = []", "-leaves[].unit: str", "-leaves[].note: none | str = null"]),
        (NestedChanged, ["-leaves[].note: none | str = null", "+leaves[].note: str"]),
    ],
)
def test_a_changed_shape_is_told_with_what_to_do(changed: type[Event], told: list[str]) -> None:
    (fault,) = faults(RECORDED, {"kettle.boiled": changed})
    assert sorted(line.strip() for line in fault.splitlines() if line.strip()[0] in "+-") == sorted(told)
    assert '@stored_as("kettle.boiled", version=2)' in fault
    assert '@upcasts("kettle.boiled", from_version=1)' in fault
    assert "`make golden`" in fault


def test_what_a_class_is_called_and_says_of_itself_is_no_part_of_its_shape() -> None:
    assert list(faults(RECORDED, {"kettle.boiled": Described})) == []
    assert fingerprint_of(Described) == fingerprint_of(Boiled) != fingerprint_of(FieldAdded)


def test_a_tag_is_not_given_up_and_a_version_does_not_go_back() -> None:
    (given_up,) = faults(RECORDED, {})
    assert "A tag is never given up" in given_up
    (back,) = faults({"kettle.boiled": {"1": [], "2": []}}, {"kettle.boiled": Boiled})
    assert "Versions only grow" in back


def test_a_new_version_is_no_fault_but_is_to_be_recorded() -> None:
    assert list(faults(RECORDED, {"kettle.boiled": Anew})) == []
    assert list(missing(RECORDED, {"kettle.boiled": Anew})) == [
        "version 2 of 'kettle.boiled' is not recorded: run `make golden` and commit what it writes"
    ]
    assert list(missing(RECORDED, {"kettle.boiled": Boiled})) == []
    assert list(missing({}, {"kettle.boiled": Boiled})) != []


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what is recorded, in which recording may write."""
    folder = Path(shutil.copytree(FOLDER, tmp_path / "golden"))
    monkeypatch.setattr(record, "FOLDER", folder)
    monkeypatch.setattr(record, "SHAPES", folder / "shapes.json")
    monkeypatch.setattr(shapes, "SHAPES", folder / "shapes.json")
    return folder


def test_recording_again_changes_nothing_not_even_what_is_wrong(copied: Path) -> None:
    golden = copied / "monitor.renamed" / "v1.json"
    golden.write_text("[]")
    assert list(record.record_events()) == []
    assert golden.read_text() == "[]"


def test_recording_writes_what_is_missing_and_how_an_older_version_is_read_now(copied: Path) -> None:
    golden, now = copied / "monitor.renamed" / "v1.json", copied / "notification.requested" / "v1.now.json"
    golden.unlink()
    now.write_text('{"version":1,"events":[]}')
    assert set(record.record_events()) == {golden, now}
    assert golden.read_bytes() == (FOLDER / "monitor.renamed" / "v1.json").read_bytes()
    assert now.read_bytes() == (FOLDER / "notification.requested" / "v1.now.json").read_bytes()


def test_nothing_is_recorded_while_stored_events_cannot_be_read(copied: Path) -> None:
    recorded = recorded_shapes()
    (copied / "shapes.json").write_bytes(msgspec.json.encode({**recorded, "kettle.boiled": {"1": []}}))
    with pytest.raises(SystemExit, match="A tag is never given up"):
        record.main()


def test_everything_that_was_ever_stored_happens_in_a_recorded_history() -> None:
    recorded = {(entry.type, entry.type_version) for history in histories() for entry in entries_of(history)}
    assert recorded == set(STORED)
    assert all(history.stat().st_size < 100_000 for history in histories())


@pytest.mark.parametrize("history", histories(), ids=lambda history: history.name)
def test_every_entry_of_a_recorded_history_is_read(history: Path) -> None:
    entries = entries_of(history)
    assert len(entries) > HISTORY_ENTRIES
    assert all(decode_entry(entry).event.tag == entry.type for entry in entries)


@pytest.mark.parametrize("history", histories(), ids=lambda history: history.name)
async def test_a_recorded_history_comes_to_what_it_came_to_when_it_was_recorded(history: Path, pool: Pool) -> None:
    recorded, now = outcome_recorded(history), await outcome_of(pool, entries_of(history))
    assert recorded is not None
    assert now.log_hash == recorded.log_hash, "the canonical form of entries changed: every log's chain would break"
    assert now.states == recorded.states, (
        "the same events fold into another state: raise the version of its `SnapshotRule`, then `make golden`"
    )
    changed = [table for table in now.tables if now.tables[table] != recorded.tables.get(table)]
    assert now.projection_version == recorded.projection_version, "run `make golden` for the projection's new version"
    assert not changed, f"{', '.join(changed)} came out otherwise: raise the projection's version, then `make golden`"


def test_examples_and_histories_are_the_same_each_time_they_are_made() -> None:
    assert list(Everything(7, people=1, monitors_each=1).entries(20)) == list(
        Everything(7, people=1, monitors_each=1).entries(20)
    )
    for cls in event_types().values():
        assert examples_of(cls) == examples_of(cls)
