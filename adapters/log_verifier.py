"""Checking an exported log with nothing but its lines and the public key (docs/evidence.md)."""

from collections.abc import Iterable, Iterator
from typing import NoReturn

from adapters.log_chain import Chain, Fault, TrustedKeys, Verified, broken, positions
from adapters.log_export_format import FIELDS, FORMAT_VERSION, GENESIS, End, Header, Line, LoggedEvent, read
from domain.signed_head import SignedHead

_HEXADECIMAL = frozenset("0123456789abcdef")


def verify_lines(lines: Iterable[bytes], keys: TrustedKeys) -> Verified:
    """Follow an export from its header to its end, holding one line at a time.

    `lines` are the lines of the file with their line feeds. Raises `LogBroken` with the first thing that is wrong, also
    when the end of the range is not covered by a signature of one of `keys`.
    """
    return _Walk(lines, keys).to_the_end()


class _Walk:
    def __init__(self, lines: Iterable[bytes], keys: TrustedKeys) -> None:
        self._lines = iter(lines)
        self._number, self._bytes = 0, b""
        self._header = _checked(next(self._following(), None), keys)
        self._chain = Chain(self._header.first, bytes.fromhex(self._header.previous_hash), keys)

    def to_the_end(self) -> Verified:
        for line in self._following():
            match line:
                case LoggedEvent():
                    self._event(line)
                case SignedHead():
                    self._head(line)
                case End():
                    return self._end(line)
                case _:
                    self._stranger()
        missing = "its last line is" if self._all_there else f"{self._rest} not there, and the last line is"
        raise broken(
            Fault.REMOVED,
            f"the file is cut off after line {self._number}: {missing} missing",
            min(self._chain.next, self._header.last),
            line=self._number,
        )

    def _following(self) -> Iterator[Line | None]:
        for number, line in enumerate(self._lines, start=self._number + 1):
            self._number, self._bytes = number, line
            yield read(line)

    @property
    def _all_there(self) -> bool:
        return self._chain.position == self._header.last

    @property
    def _rest(self) -> str:
        return positions(self._chain.next, self._header.last)

    def _event(self, event: LoggedEvent) -> None:
        if self._all_there:
            position = event.entry.position
            message = (
                f"line {self._number} goes on with position {position}, after {self._header.last} where the header ends"
            )
            since = self._chain.signed + 1 if self._chain.fits(event) else position
            raise broken(Fault.INSERTED, message, position, since=since, line=self._number)
        if not self._chain.fits(event):
            self._misfit(event.entry.position)
        self._chain.take(event)

    def _misfit(self, found: int) -> NoReturn:
        """Say what was done where `found` stands in the place of the next position. What comes later tells."""
        here, wanted = self._number, self._chain.next
        wanted_at, wanted_fits, found_again = None, False, False
        for line in self._following():
            if isinstance(line, LoggedEvent):
                if line.entry.position == wanted:
                    wanted_at, wanted_fits = self._number, wanted_fits or self._chain.fits(line)
                found_again = found_again or line.entry.position == found
        stranger = found < wanted or found > self._header.last or found_again
        if found == wanted:
            fault = Fault.INSERTED if wanted_fits else Fault.CHANGED
        elif wanted_at is None:
            fault = Fault.CHANGED if stranger else Fault.REMOVED
        else:
            fault = Fault.INSERTED if stranger else Fault.REORDERED
        message, position = f"position {wanted} was changed: line {here} does not give its hash", wanted
        if fault is Fault.INSERTED:
            message, position = (
                f"position {found} was inserted on line {here}, before the real position {wanted}",
                found,
            )
        elif fault is Fault.REORDERED:
            message = f"position {wanted} was moved to line {wanted_at}; line {here} has {found} in its place"
        elif fault is Fault.REMOVED:
            message = f"{positions(wanted, found - 1)} removed: line {here} goes on with position {found}"
        if wanted == self._header.first:
            message += ", or the header was changed"
        raise broken(fault, message, position, line=here)

    def _stranger(self) -> NoReturn:
        """Say what was done where a line is not as the format writes it."""
        here, wanted = self._number, self._chain.next
        if self._bytes.startswith(b'{"signed_head":'):
            message = f"the signed head on line {here} was changed: it is not as it is written"
            raise broken(Fault.FORGED, message, self._chain.position, line=here)
        if self._all_there:
            message = f"line {here} was changed or inserted: after position {wanted - 1} only signature and end follow"
            raise broken(Fault.CHANGED, message, wanted - 1, line=here)
        for line in self._following():
            if isinstance(line, LoggedEvent) and self._chain.fits(line):
                message = f"line {here} was inserted before position {wanted}: it is not as a line is written"
                raise broken(Fault.INSERTED, message, wanted, line=here)
        message = f"position {wanted} was changed: line {here} is not as an event is written"
        raise broken(Fault.CHANGED, message, wanted, line=here)

    def _head(self, head: SignedHead) -> None:
        chain, here = self._chain, self._number
        if head.key_id != self._header.key_id:
            message = f"the signed head on line {here} is not of the key that the header names"
            raise broken(Fault.FORGED, message, head.position, line=here)
        chain.check_signature(head, line=here)
        if head.position <= chain.signed:
            message = f"line {here} repeats a signature that stands above, of position {head.position}"
            raise broken(Fault.INSERTED, message, head.position, line=here)
        if head.position < chain.position:
            self._late(head)
        if head.position > chain.position:
            self._early(head)
        chain.take_head(head, line=here)

    def _late(self, head: SignedHead) -> NoReturn:
        """Say what was done where a signature comes after more than it was made of."""
        here, position, since = self._number, self._chain.position, self._chain.signed + 1
        for line in self._following():
            if isinstance(line, LoggedEvent) and line.entry.position == position:
                message = f"position {position} was inserted before line {here}; it stands on line {self._number} too"
                raise broken(Fault.INSERTED, message, position, line=here)
        message = (
            f"what was signed at position {head.position} stands on line {here}, after position {position}: lines were"
            f" moved, or events inserted since position {since} and the hashes computed again"
        )
        raise broken(Fault.REORDERED, message, position, since=since, line=here)

    def _early(self, head: SignedHead) -> NoReturn:
        """Say what was done where a signature comes before the event it was made of."""
        chain, here, wanted, since = self._chain, self._number, self._chain.next, self._chain.signed + 1
        for line in self._following():
            if isinstance(line, LoggedEvent) and chain.fits(line) and line.hash == head.hash:
                message = f"position {wanted} was moved to line {self._number}, after its signature on line {here}"
                raise broken(Fault.REORDERED, message, wanted, line=here)
        message = (
            f"{positions(wanted, head.position)} removed before the signature on line {here}; if the hashes were computed"
            f" again, it may be others from position {since} on"
        )
        raise broken(Fault.REMOVED, message, wanted, since=since, line=here)

    def _end(self, end: End) -> Verified:
        chain, here = self._chain, self._number
        if not self._all_there:
            raise broken(Fault.REMOVED, f"{self._rest} removed: the file ends on line {here}", chain.next, line=here)
        if chain.signed < chain.position:
            message = f"{positions(chain.signed + 1, chain.position)} not covered by a signature"
            raise broken(Fault.UNSIGNED, message, chain.signed + 1, line=here)
        counted = End(chain.position - chain.first + 1, chain.heads)
        if end != counted:
            message = (
                f"line {here} counts {end.events} events and {end.signed_heads} signed heads, and there are"
                f" {counted.events} and {counted.signed_heads}: a signed head was removed, or this line was changed"
            )
            raise broken(Fault.REMOVED, message, chain.position, since=chain.first, line=here)
        if next(self._lines, None) is not None:
            raise broken(Fault.INSERTED, f"something stands after line {here}, the last", chain.position, line=here + 1)
        return chain.verified()


def _checked(header: Line | None, keys: TrustedKeys) -> Header:
    if not isinstance(header, Header):
        raise broken(Fault.MALFORMED, "line 1 is not the header of an exported log", 1, line=1)
    first, digest = header.first, header.previous_hash
    if header.vigil_export != FORMAT_VERSION or header.fields != FIELDS:
        raise broken(
            Fault.MALFORMED, f"this is not an export of format {FORMAT_VERSION}, which is the one known here", 1, line=1
        )
    if not 1 <= first <= header.last or len(digest) != 2 * len(GENESIS) or not _HEXADECIMAL.issuperset(digest):
        raise broken(Fault.CHANGED, "the header was changed: its range or hash cannot be", max(first, 1), line=1)
    if first == 1 and bytes.fromhex(digest) != GENESIS:
        raise broken(Fault.CHANGED, "the header was changed: it puts something before the first event ever", 1, line=1)
    if header.key_id is not None and header.key_id not in keys:
        raise broken(Fault.FORGED, f"the header names the key {header.key_id}, which was not given", first, line=1)
    return header
