"""What must hold whatever was broken: the invariants of docs/faults.md, each a function from what happened in the world (the
ledger) and what is stored to findings. An empty list is a pass."""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from faults.ledger import Ledger, Mail
from faults.stored import Stored

PARTITIONS = 16
_PRICE = re.compile(r"(?<![\w.,-])(1\d{4})(?![\w-])")
"""A price that fell, as mails tell it. Every one has five digits and begins with 1, and nothing else in a mail does."""


class Invariant(StrEnum):
    """What must hold."""

    ACKNOWLEDGED_IS_STORED = "I1"
    """What somebody was told is done is in the store, once; what nobody was told is there once or not at all."""
    LOG_IS_WHOLE = "I2"
    """Versions, positions and places have no gap and no double, the log is in commit order, and its chain holds."""
    TABLES_ARE_THE_LOG = "I3"
    """The live read tables equal a rebuild from nothing."""
    APPLIED_ONCE = "I4"
    """Each consumer stands at the end of the log, each thing is shown in its last version, each change judged once."""
    MAILED_ONCE = "I5"
    """Each firing reached its recipient; a mail that came twice had one Message-ID and a death to excuse it."""
    NOBODY_ELSES = "I6"
    """Nobody was shown or mailed what is somebody else's."""
    CONVERGES = "I8"
    """After healing everything is done, in time, and no process ended by itself."""
    NO_SECRETS_IN_LOGS = "I9"
    """No password, token or key stands in a log."""
    READS_OWN_WRITES = "I10"
    """Who asks for at least a position is shown it, or told that it is not there yet."""
    EVALUATED_ONCE = "I11"
    """An evaluation has one outcome, and a slot of a monitor one evaluation."""
    ANSWERED_IN_ORDER = "I12"
    """What a person or a signal asked for was evaluated; signals each with what they said, in the order they came."""


@dataclass(frozen=True)
class Finding:
    """An invariant that did not hold, and how."""

    invariant: Invariant
    what: str

    def __str__(self) -> str:
        return f"{self.invariant} {self.invariant.name.lower().replace('_', ' ')}: {self.what}"


def check(ledger: Ledger, stored: Stored, logs: Mapping[str, str]) -> list[Finding]:
    """All invariants over one installation that has come to rest."""
    found = {
        Invariant.ACKNOWLEDGED_IS_STORED: _acknowledged(ledger, stored),
        Invariant.LOG_IS_WHOLE: _log(stored),
        Invariant.TABLES_ARE_THE_LOG: iter(stored.drift),
        Invariant.APPLIED_ONCE: _applied(stored),
        Invariant.MAILED_ONCE: _mailed(ledger),
        Invariant.NOBODY_ELSES: _crossings(ledger),
        Invariant.CONVERGES: _rest(ledger, stored),
        Invariant.NO_SECRETS_IN_LOGS: _secrets(ledger, logs),
        Invariant.READS_OWN_WRITES: _stale(ledger),
        Invariant.EVALUATED_ONCE: _evaluated(stored),
        Invariant.ANSWERED_IN_ORDER: _answered(ledger, stored),
    }
    return [Finding(invariant, what) for invariant, whats in found.items() for what in whats]


def _acknowledged(ledger: Ledger, stored: Stored) -> Iterator[str]:
    versions = {(event.stream_id, event.version) for event in stored.events}
    for command in ledger.commands:
        if command.acknowledged and (command.stream_id, command.version) not in versions:
            asked = f"{command.method} {command.path} ({command.marker})"
            yield f"{asked} was told version {command.version} of {command.stream_id}, which is not stored"
    for stream_id, version in ledger.appended:
        if (stream_id, version) not in versions:
            yield f"the append of version {version} to {stream_id} returned and is not stored"
    transactions: dict[str, set[int]] = defaultdict(set)
    for event in stored.events:
        if event.command_id is not None:
            transactions[event.command_id].add(event.tx)
    for command_id, written in transactions.items():
        if len(written) > 1:
            yield f"the command {command_id} was carried out {len(written)} times"
    made = Counter((event.owner_id, event.type) for event in stored.events)
    for person, owner_id in ledger.owners.items():
        asked_for = Counter(command.makes for command in ledger.commands if command.person == person and command.makes)
        for event_type, times in asked_for.items():
            if made[owner_id, event_type] > times:
                yield f"{person} asked for {times} times {event_type} and has {made[owner_id, event_type]}"


def _log(stored: Stored) -> Iterator[str]:
    streams: dict[str, list[int]] = defaultdict(list)
    for event in stored.events:
        streams[event.stream_id].append(event.version)
    for stream_id, versions in streams.items():
        if sorted(versions) != list(range(1, len(versions) + 1)):
            yield f"stream {stream_id} has the versions {_shortened(sorted(versions))}"
    yield from _places(stored)
    events = {(event.stream_id, event.version): event for event in stored.events}
    before, previous = (0, 0), bytes(32)
    for entry in stored.log:
        key = entry.stream_id, entry.version
        if key not in events:
            yield f"position {entry.position} has no event, or one that has another position too"
            return
        event = events.pop(key)
        if (event.tx, event.seq) <= before:
            yield f"position {entry.position} was committed before the one ahead of it"
        before = event.tx, event.seq
        previous = hashlib.sha256(previous + entry.canonical).digest()
        if previous != entry.hash:
            yield f"the chain breaks at position {entry.position}"
            return
    for stream_id, version in events:
        yield f"version {version} of {stream_id} has no position"


def _places(stored: Stored) -> Iterator[str]:
    positions = [entry.position for entry in stored.log]
    if positions != list(range(1, len(positions) + 1)):
        yield f"the positions are {_shortened(positions)}"
    partitions: dict[int, list[int]] = defaultdict(list)
    for entry in stored.log:
        partitions[entry.partition].append(entry.place)
        if entry.owner_id is not None and entry.partition != int(entry.owner_id[-2:], 16) % PARTITIONS:
            yield f"position {entry.position} is in partition {entry.partition}, which is not its owner's"
    for partition, places in partitions.items():
        if places != list(range(1, len(places) + 1)):
            yield f"the places of partition {partition} are {_shortened(places)}"


def _applied(stored: Stored) -> Iterator[str]:
    heads = Counter(entry.partition for entry in stored.log)
    for (consumer, partition), place in stored.checkpoints.items():
        if place != heads[partition]:
            yield f"{consumer} stands at {place} of {heads[partition]} in partition {partition}"
    last: dict[str, int] = {}
    for event in stored.events:
        last[event.stream_id] = max(event.version, last.get(event.stream_id, 0))
    for table, thing, version in stored.shown:
        if version != last.get(thing):
            yield f"{table} shows version {version} of {thing}, whose last is {last.get(thing)}"
    for (trigger_id, occasion), times in Counter(stored.judgements).items():
        if times > 1:
            yield f"trigger {trigger_id} judged the change at {occasion} {times} times"


def _mailed(ledger: Ledger) -> Iterator[str]:
    told: dict[tuple[str, int], list[Mail]] = defaultdict(list)
    for mail in ledger.mails:
        for price in set(map(int, _PRICE.findall(mail.text))):
            told[mail.to, price].append(mail)
    for flip in ledger.flips:
        mails = told.pop((ledger.addresses[flip.person], flip.price), [])
        ids = {mail.message_id for mail in mails}
        if flip.seen and not mails:
            yield f"{flip.person} got no mail of the price {flip.price}"
        if len(ids) > 1:
            yield f"{flip.person} got {len(ids)} different mails of the price {flip.price}"
    for to, price in told:
        yield f"{to} got a mail of the price {price}, which their shop never had"
    yield from _without_excuse(ledger)


def _without_excuse(ledger: Ledger) -> Iterator[str]:
    """Between two copies of a mail a mailer must have died that may have been sending it."""
    excuses = [death.at for death in ledger.deaths if death.leaves_mails_in_doubt]
    copies: dict[tuple[str, str], list[Mail]] = defaultdict(list)
    for mail in ledger.mails:
        copies[mail.to, mail.message_id].append(mail)
    for (to, message_id), mails in copies.items():
        for first, second in pairwise(sorted(mail.received_at for mail in mails)):
            if not any(first <= at <= second for at in excuses):
                yield f"{to} got {message_id} at {first:%H:%M:%S.%f} and again at {second:%H:%M:%S.%f}, and no mailer died between"


def _crossings(ledger: Ledger) -> Iterator[str]:
    owners = {name: person for person, names in ledger.own_names.items() for name in names}
    for read in ledger.reads:
        for name in read.names:
            if owners.get(name, read.person) != read.person:
                yield f"{read.person} was shown {name} at {read.path}"
    people = {address: person for person, address in ledger.addresses.items()}
    for mail in ledger.mails:
        for person in ledger.own_names:
            if people.get(mail.to) != person and re.search(rf"\b{re.escape(person)}-\d", mail.subject + mail.text):
                yield f"{mail.to} got a mail about something of {person}"


def _rest(ledger: Ledger, stored: Stored) -> Iterator[str]:
    for flip in ledger.flips:
        if not flip.seen:
            yield f"the price {flip.price} of {flip.person} was never noticed"
    for death in ledger.deaths:
        if death.status not in {0, -9, -15} or (death.status == 0 and not death.asked):
            yield f"{death.process} ended by itself with status {death.status}"
    yield from ledger.troubles
    yield from stored.unfinished


def _secrets(ledger: Ledger, logs: Mapping[str, str]) -> Iterator[str]:
    for name, text in logs.items():
        for secret, meaning in ledger.secrets.items():
            if secret in text:
                yield f"{meaning} stands in {name}"


def _stale(ledger: Ledger) -> Iterator[str]:
    for read in ledger.reads:
        if read.status == 200 and (read.shown is None or read.shown < read.wanted):
            yield f"{read.path} showed version {read.shown} to who asked for {read.position}, which wrote {read.wanted}"
        if read.status == 404:
            yield f"{read.path} was not there for who asked for {read.position}, which wrote it"


def _evaluated(stored: Stored) -> Iterator[str]:
    for evaluation_id, times in Counter(outcome.evaluation_id for outcome in stored.outcomes).items():
        if times > 1:
            yield f"the evaluation {evaluation_id} has {times} outcomes"
    asked = set(stored.asked)
    slots: dict[tuple[str, str], set[str]] = defaultdict(set)
    for outcome in stored.outcomes:
        if outcome.evaluation_id not in asked:
            slots[outcome.monitor_id, outcome.due_at].add(outcome.evaluation_id)
    for (monitor_id, due_at), evaluations in slots.items():
        if len(evaluations) > 1:
            yield f"the slot {due_at} of {monitor_id} was evaluated {len(evaluations)} times"


def _answered(ledger: Ledger, stored: Stored) -> Iterator[str]:
    outcomes = {outcome.evaluation_id: (place, outcome) for place, outcome in enumerate(stored.outcomes)}
    for evaluation_id in stored.asked:
        if evaluation_id not in outcomes:
            yield f"the evaluation {evaluation_id} was asked for and never made"
    last: dict[str, int] = defaultdict(lambda: -1)
    for sent in ledger.signals:
        if sent.evaluations is not None and len(sent.evaluations) != 1:
            yield f"the signal {sent.webhook_id} asked for {len(sent.evaluations)} evaluations of the one monitor there is"
        for evaluation_id in sent.evaluations or ():
            if evaluation_id not in outcomes:
                yield f"the signal {sent.webhook_id} was taken and not evaluated"
                continue
            place, outcome = outcomes[evaluation_id]
            if outcome.temperature != sent.temperature:
                yield f"the signal {sent.webhook_id} said {sent.temperature}, and {outcome.temperature} was judged"
            if place < last[sent.person]:
                yield f"the signal {sent.webhook_id} was evaluated before one that came earlier"
            last[sent.person] = max(place, last[sent.person])


def _shortened(numbers: Sequence[int]) -> str:
    """The numbers around the first that does not follow its predecessor."""
    for i, number in enumerate(numbers):
        if number != i + 1:
            return f"1..{i}, then {', '.join(map(str, numbers[i : i + 3]))} (of {len(numbers)})"
    return f"1..{len(numbers)}"
