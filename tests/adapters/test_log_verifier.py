"""An exported log is checked with its lines and the public key alone: whatever was done to it is found and named."""

import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.log_chain import Fault, Finding, LogBroken, Verified
from adapters.log_export_format import FIELDS, GENESIS, End, Header, LoggedEvent, read, written
from adapters.log_signatures import PublicKeys, SigningKey
from adapters.log_verifier import verify_lines
from adapters.postgres_log import canonical, link
from domain.log_entry import LogEntry
from domain.signed_head import SignedHead
from tests.conftest import AT

KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
THIEF = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))
KEYS = PublicKeys([KEY.public])


@dataclass(frozen=True)
class Export:
    """What an export is made of, before it is lines."""

    first: int
    previous_hash: bytes
    events: tuple[LoggedEvent, ...]
    heads: tuple[SignedHead, ...]

    @property
    def last(self) -> int:
        return self.first + len(self.events) - 1

    def lines(self) -> list[bytes]:
        by_position = {head.position: head for head in self.heads}
        lines = [written(Header(1, self.first, self.last, self.previous_hash.hex(), KEY.key_id))]
        for event in self.events:
            lines.append(written(event))
            if event.entry.position in by_position:
                lines.append(written(by_position[event.entry.position]))
        return [*lines, written(End(len(self.events), len(self.heads)))]

    def line_of(self, position: int) -> int:
        """The index of an event among the lines."""
        return next(
            index
            for index, line in enumerate(self.lines())
            if isinstance(said := read(line), LoggedEvent) and said.entry.position == position
        )

    def signed_from(self, position: int) -> int:
        """The first signed position from here on."""
        return min(head.position for head in self.heads if head.position >= position)

    def signed_before(self, position: int) -> int:
        return max((head.position for head in self.heads if head.position < position), default=self.first - 1)


def chained(entries: Sequence[LogEntry], previous: bytes) -> Iterator[LoggedEvent]:
    """The entries with the hashes that anybody can compute, numbered on from the first."""
    for position, entry in enumerate(entries, start=entries[0].position if entries else 1):
        numbered = msgspec.structs.replace(entry, position=position)
        previous = link(previous, numbered)
        yield LoggedEvent(numbered, previous)


def export(entries: Sequence[LogEntry], *, signed: Sequence[int] = (), previous_hash: bytes = GENESIS) -> Export:
    events = tuple(chained(entries, previous_hash))
    heads = tuple(
        KEY.sign_head(event.entry.position, event.hash, AT + timedelta(seconds=event.entry.position))
        for event in events
        if event.entry.position in signed or event is events[-1]
    )
    return Export(events[0].entry.position, previous_hash, events, heads)


def entry(position: int, data: str = "{}") -> LogEntry:
    return LogEntry(3, position, position, UUID(int=1), position, UUID(int=3), "t.happened", 1, data, "{}", UUID(int=position), "2026-01-01T00:00:00.000000Z")  # fmt: skip


def finding(lines: Sequence[bytes], keys: PublicKeys = KEYS) -> Finding:
    with pytest.raises(LogBroken) as caught:
        verify_lines(lines, keys)
    assert str(caught.value)
    return caught.value.finding


PLAIN = export([entry(position) for position in range(1, 7)], signed=[2, 4])

small = st.integers(0, 2**53)
entries = st.builds(LogEntry, small, small, small, st.uuids(), small, st.uuids(), st.text(max_size=9), small, st.text(max_size=9), st.text(max_size=9), st.uuids(), st.text(max_size=9))  # fmt: skip


@st.composite
def exports(draw: st.DrawFn, *, events_min: int = 1) -> Export:
    first = draw(st.sampled_from([1, 2, 1000]))
    drawn = draw(st.lists(entries, min_size=events_min, max_size=8))
    placed = [msgspec.structs.replace(each, position=first + index) for index, each in enumerate(drawn)]
    signed = draw(st.sets(st.integers(first, first + len(drawn) - 1)))
    previous = GENESIS if first == 1 else draw(st.binary(min_size=32, max_size=32))
    return export(placed, signed=sorted(signed), previous_hash=previous)


def position_in(made: Export) -> st.SearchStrategy[int]:
    return st.integers(made.first, made.last)


@given(exports())
@settings(max_examples=50)
def test_what_was_not_touched_is_verified(made: Export) -> None:
    last = made.heads[-1]
    assert verify_lines(made.lines(), KEYS) == Verified(
        first=made.first,
        last=made.last,
        hash=made.events[-1].hash.hex(),
        signed_heads=len(made.heads),
        signed=made.last,
        signed_at=last.signed_at,
        key_id=KEY.key_id,
    )


@given(exports(), st.data())
@settings(max_examples=150)
def test_a_change_of_any_field_of_any_event_is_named(made: Export, data: st.DataObject) -> None:
    position = data.draw(position_in(made))
    name = data.draw(st.sampled_from([*FIELDS, "hash"]))
    event = made.events[position - made.first]
    other = data.draw(entries)
    if name == "hash":
        changed = LoggedEvent(event.entry, data.draw(st.binary(min_size=32, max_size=32)))
    else:
        changed = LoggedEvent(msgspec.structs.replace(event.entry, **{name: getattr(other, name)}), event.hash)
    lines, index = made.lines(), made.line_of(position)
    if written(changed) == lines[index]:
        return
    lines[index] = written(changed)
    found = finding(lines)
    assert (found.fault, found.position, found.since, found.line) == (Fault.CHANGED, position, position, index + 1)


@given(exports(), st.data())
@settings(max_examples=50)
def test_an_event_that_was_removed_is_named(made: Export, data: st.DataObject) -> None:
    position = data.draw(position_in(made))
    lines, index = made.lines(), made.line_of(position)
    del lines[index]
    found = finding(lines)
    assert (found.fault, found.position, found.line) == (Fault.REMOVED, position, index + 1)


@given(exports(), st.data())
@settings(max_examples=50)
def test_an_event_that_stands_there_twice_is_named(made: Export, data: st.DataObject) -> None:
    position = data.draw(position_in(made))
    lines = made.lines()
    lines.insert(data.draw(st.integers(1, len(lines) - 1)), lines[made.line_of(position)])
    found = finding(lines)
    assert (found.fault, found.position) == (Fault.INSERTED, position)


@given(exports(events_min=2), st.data())
@settings(max_examples=50)
def test_events_that_changed_places_are_named(made: Export, data: st.DataObject) -> None:
    one, other = data.draw(st.lists(position_in(made), min_size=2, max_size=2, unique=True).map(sorted))
    lines, first, second = made.lines(), made.line_of(one), made.line_of(other)
    lines[first], lines[second] = lines[second], lines[first]
    found = finding(lines)
    assert (found.fault, found.position, found.line) == (Fault.REORDERED, one, first + 1)


@given(exports(), entries, st.binary(min_size=32, max_size=32), st.data())
@settings(max_examples=50)
def test_an_event_that_was_inserted_is_named(
    made: Export, strange: LogEntry, digest: bytes, data: st.DataObject
) -> None:
    lines = made.lines()
    index = data.draw(st.integers(1, len(lines) - 1))
    position = data.draw(st.one_of(position_in(made), st.just(strange.position)))
    lines.insert(index, written(LoggedEvent(msgspec.structs.replace(strange, position=position), digest)))
    found = finding(lines)
    assert (found.fault, found.position, found.line) == (Fault.INSERTED, position, index + 1)


@given(exports(), entries, st.data())
@settings(max_examples=50)
def test_an_inserted_event_that_continues_the_chain_is_named(
    made: Export, strange: LogEntry, data: st.DataObject
) -> None:
    """Its hash can be computed by anybody; the event whose place it took gives it away."""
    position = data.draw(position_in(made))
    before = made.events[position - made.first - 1].hash if position > made.first else made.previous_hash
    (inserted,) = chained([msgspec.structs.replace(strange, position=position)], before)
    lines = made.lines()
    lines.insert(made.line_of(position), written(inserted))
    found = finding(lines)
    assert (found.fault, found.position) == (Fault.INSERTED, position)


@given(exports(), st.data())
@settings(max_examples=50)
def test_a_file_that_was_cut_off_is_told_with_what_is_missing(made: Export, data: st.DataObject) -> None:
    whole = b"".join(made.lines())
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    there = [read(line) for line in cut.splitlines(keepends=True)]
    found = finding(cut.splitlines(keepends=True))
    events = sum(isinstance(said, LoggedEvent) for said in there)
    if there and isinstance(there[0], Header):
        assert found.position is not None
        assert found.position in {min(made.first + events, made.last), made.first + events - 1}
        assert found.fault in {Fault.REMOVED, Fault.CHANGED, Fault.FORGED}
    else:
        assert found.fault is Fault.MALFORMED


@given(exports(), entries, st.data())
@settings(max_examples=100)
def test_a_past_with_hashes_computed_again_is_found_between_two_signatures(
    made: Export, strange: LogEntry, data: st.DataObject
) -> None:
    """The strongest thing that can be done without the key: change, remove or insert, number and hash everything anew."""
    position = data.draw(position_in(made))
    index = position - made.first
    past = [event.entry for event in made.events]
    stranger = msgspec.structs.replace(strange, position=position)
    what = data.draw(st.sampled_from(["changed", "removed", "inserted"] if len(past) > 1 else ["changed", "inserted"]))
    if what == "changed":
        past[index] = stranger
    elif what == "removed":
        del past[index]
    else:
        past.insert(index, stranger)
    past[0] = msgspec.structs.replace(past[0], position=made.first)
    again = tuple(chained(past, made.previous_hash))
    if again == made.events:
        return
    if what == "removed" and position == made.last:  # what is left is a true log; see the test below
        return
    kept = tuple(head for head in made.heads if head.position <= again[-1].entry.position)
    found = finding(Export(made.first, made.previous_hash, again, kept).lines())
    if found.fault is Fault.UNSIGNED:  # the last signature had nothing to stand on
        assert what != "changed"
        return
    assert found.position is not None
    assert found.since is not None
    assert found.since == made.signed_before(position) + 1 or what != "changed"
    assert found.since <= found.position
    assert found.since <= position
    assert found.fault is Fault.REWRITTEN or what != "changed"
    assert found.position == made.signed_from(position) or what != "changed"


def test_a_log_that_ends_at_an_older_signature_is_a_true_log_of_then() -> None:
    """No file can say that it is the newest: who checks compares its end with what they expect."""
    earlier = Export(1, GENESIS, PLAIN.events[:4], PLAIN.heads[:2])
    verified = verify_lines(earlier.lines(), KEYS)
    assert (verified.last, verified.signed_at) == (4, PLAIN.heads[1].signed_at)
    assert finding(Export(1, GENESIS, PLAIN.events[:5], PLAIN.heads[:2]).lines()).fault is Fault.UNSIGNED


@pytest.mark.parametrize("signed_lines_follow", [True, False])
def test_a_renumbered_past_whose_signatures_stayed_in_their_lines_is_found(*, signed_lines_follow: bool) -> None:
    """Position 3 is gone, everything after it was numbered and hashed anew."""
    past = [event.entry for event in PLAIN.events if event.entry.position != 3]
    again = [written(event) for event in chained(past, GENESIS)]
    heads = [written(head) for head in PLAIN.heads]
    header, end = written(Header(1, 1, 6 - signed_lines_follow, GENESIS.hex(), KEY.key_id)), written(End(5, 3))
    lines = [header, *again[:2], heads[0], again[2], heads[1], *again[3:], heads[2], end]
    found = finding(lines)
    assert (found.fault, found.position, found.since) == (Fault.REMOVED, 4, 3)
    assert "from position 3 on" in found.message


def test_no_byte_can_be_changed_removed_or_doubled() -> None:
    """Also spellings that mean the same: a file that verifies is the one that was written."""
    whole = b"".join(export([entry(1), entry(2, '{"prijs": "€ 5\\u0000"}')], signed=[1]).lines())
    assert verify_lines(whole.splitlines(keepends=True), KEYS).last == 2
    for place in range(len(whole)):
        for instead in (bytes([whole[place] ^ 1]), bytes([whole[place] ^ 32]), b"", whole[place : place + 1] * 2):
            changed = whole[:place] + instead + whole[place + 1 :]
            if changed != whole:
                finding(changed.splitlines(keepends=True))


def test_no_line_can_be_removed_doubled_or_moved() -> None:
    lines = PLAIN.lines()
    for index, line in enumerate(lines):
        finding(lines[:index] + lines[index + 1 :])
        for place in range(len(lines) + 1):
            finding([*lines[:place], line, *lines[place:]])
            rest = lines[:index] + lines[index + 1 :]
            moved = [*rest[:place], line, *rest[place:]]
            if moved != lines:
                finding(moved)


def test_a_signature_that_is_repeated_is_named() -> None:
    lines = PLAIN.lines()
    for index in (3, 4, 6):  # after itself, after the next event, after the next signature
        found = finding([*lines[:index], lines[3], *lines[index:]])
        assert (found.fault, found.position, found.line) == (Fault.INSERTED, 2, (4 if index == 3 else index) + 1)


@pytest.mark.parametrize("numbers", [(1, 3, 4), (1, 1, 2), (1, 3, 2), (2, 3, 4)])
def test_positions_are_dense_even_where_the_chain_and_the_signature_are_right(numbers: tuple[int, ...]) -> None:
    events, previous = [], GENESIS
    for number in numbers:
        each = entry(number)
        previous = link(previous, each)
        events.append(LoggedEvent(each, previous))
    head = KEY.sign_head(numbers[-1], previous, AT)
    lines = [written(Header(1, 1, numbers[-1], GENESIS.hex(), KEY.key_id)), *map(written, events), written(head)]
    finding([*lines, written(End(3, 1))])


def test_a_signature_of_another_key_is_not_taken() -> None:
    forged = tuple(THIEF.sign_head(head.position, head.hash, AT) for head in PLAIN.heads)
    stolen = Export(1, GENESIS, PLAIN.events, forged).lines()
    assert finding(stolen).fault is Fault.FORGED
    stolen[0] = written(Header(1, 1, 6, GENESIS.hex(), THIEF.key_id))
    found = finding(stolen)
    assert (found.fault, found.line) == (Fault.FORGED, 1)
    renamed = tuple(msgspec.structs.replace(head, key_id=KEY.key_id) for head in forged)
    found = finding(Export(1, GENESIS, PLAIN.events, renamed).lines())
    assert (found.fault, found.position) == (Fault.FORGED, 2)
    assert verify_lines(stolen, PublicKeys([KEY.public, THIEF.public])).key_id == THIEF.key_id


def test_a_signature_cannot_be_given_another_time_or_another_position() -> None:
    for changes in ({"signed_at": "2020-01-01T00:00:00.000000Z"}, {"position": 3}, {"hash": PLAIN.events[0].hash}):
        heads = (msgspec.structs.replace(PLAIN.heads[0], **changes), *PLAIN.heads[1:])
        assert finding(Export(1, GENESIS, PLAIN.events, heads).lines()).fault is Fault.FORGED


def test_what_follows_the_last_signature_is_told_as_not_covered() -> None:
    lines = Export(1, GENESIS, PLAIN.events, PLAIN.heads[:2]).lines()
    found = finding(lines)
    assert (found.fault, found.position, found.message) == (
        Fault.UNSIGNED,
        5,
        "positions 5 to 6 were not covered by a signature",
    )
    bare = Export(1, GENESIS, PLAIN.events, ()).lines()
    bare[0] = written(Header(1, 1, 6, GENESIS.hex(), None))
    found = finding(bare)
    assert (found.fault, found.position) == (Fault.UNSIGNED, 1)
    bare[3] = written(LoggedEvent(entry(3, '{"changed": true}'), PLAIN.events[2].hash))
    assert (finding(bare).fault, finding(bare).position) == (Fault.CHANGED, 3)


def test_a_file_of_something_else_is_told_so() -> None:
    for lines in ([], [b"\n"], [b"{}\n"], [b"PK\x03\x04"], PLAIN.lines()[1:], [b'{"vigil_export":2,"first":1}\n']):
        found = finding(lines)
        assert (found.fault, found.line) == (Fault.MALFORMED, 1)
    newer = written(Header(2, 1, 6, GENESIS.hex(), KEY.key_id))
    assert finding([newer, *PLAIN.lines()[1:]]).fault is Fault.MALFORMED
    for header in (
        Header(1, 2, 1, "00" * 32, None),
        Header(1, 1, 6, "0A" * 32, None),
        Header(1, 1, 6, "11" * 32, None),
    ):
        assert finding([written(header), *PLAIN.lines()[1:]]).fault is Fault.CHANGED


def test_an_event_stands_in_its_line_as_the_bytes_that_were_hashed() -> None:
    for event in PLAIN.events:
        line = written(event)
        assert line == b'{"event":' + canonical(event.entry) + b',"hash":"' + event.hash.hex().encode() + b'"}\n'
        assert read(line) == event


def test_memory_does_not_grow_with_the_file() -> None:
    def lines(count: int) -> Iterator[bytes]:
        previous = GENESIS
        yield written(Header(1, 1, count, GENESIS.hex(), KEY.key_id))
        for position in range(1, count + 1):
            each = entry(position, '{"text": "' + "x" * 500 + '"}')
            previous = link(previous, each)
            yield written(LoggedEvent(each, previous))
        yield written(KEY.sign_head(count, previous, AT))
        yield written(End(count, 1))

    def peak(count: int) -> int:
        tracemalloc.start()
        assert verify_lines(lines(count), KEYS).last == count
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(5_000) < peak(50) + 100_000
