"""Verifying a part of the log where it is kept, in work that is bounded: what an auditor asks for over HTTP.

The whole proof is `adapters.postgres_log_proof`, which also finds events that stand beside the log; the proof that trusts
nobody is `adapters.log_verifier`, which needs only an exported file.
"""

from collections.abc import Callable

import msgspec

from adapters.log_archive import ArchiveUnreadable
from adapters.log_chain import Chain, Fault, LogBroken, TrustedKeys, broken, positions
from adapters.log_export_format import GENESIS
from adapters.log_signatures import PublicKeys
from adapters.postgres_log import Archive, LogHead, PostgresLog
from adapters.postgres_log_proof import LogRow, PostgresLogProof, take_row
from adapters.postgres_pool import Pool
from adapters.postgres_signed_heads import PostgresSignedHeads
from domain.errors import InvalidInput
from domain.log_check import LogCheck
from domain.signed_head import SignedHead


class PostgresLogVerifier:
    """Fulfils `read_api.audit.LogVerifier`.

    `keys` gives the public keys that are trusted, None where this host has none: then only the chain is followed. A head
    that another key signed does not hold.
    """

    def __init__(self, pool: Pool, keys: Callable[[], TrustedKeys | None], *, archive: Archive | None = None) -> None:
        self._log = PostgresLog(pool)
        self._proof = PostgresLogProof(pool, archive)
        self._heads = PostgresSignedHeads(pool)
        self._keys = keys

    async def check(self, *, first: int, last: int) -> LogCheck:
        """Follow the chain over these positions, as far as there are such, and compare the heads signed in them. Raises
        `InvalidInput` for a `first` that lies behind the end."""
        keys = self._keys()
        newest = None if keys is None else await self._heads.last()  # before the log's head, which only grows
        head = await self._log.head()
        if first > max(1, head.position):
            raise InvalidInput(f"the log ends at position {head.position}", field="from_position")
        last = min(last, head.position)
        asked = LogCheck(holds=True, first=first, last=last, head=head.position, signatures_checked=keys is not None)
        try:
            chain = await self._chain(first, keys or PublicKeys([]))
            await self._follow(chain, last, heads=keys is not None)
            if last == head.position:
                _check_end(chain, head, newest)
        except ArchiveUnreadable as error:
            return msgspec.structs.replace(asked, holds=False, fault=Fault.REMOVED, message=str(error))
        except LogBroken as error:
            found = error.finding
            return msgspec.structs.replace(
                asked,
                holds=False,
                fault=found.fault,
                message=found.message,
                position=found.position,
                since=found.since,
                stream_id=found.stream_id,
                version=found.version,
            )
        proved = chain.verified()
        return msgspec.structs.replace(
            asked,
            last=proved.last,
            hash=proved.hash,
            signed_heads=proved.signed_heads,
            signed=proved.signed,
            signed_at=proved.signed_at,
            key_id=proved.key_id,
        )

    async def _chain(self, first: int, keys: TrustedKeys) -> Chain:
        previous = GENESIS if first == 1 else await self._heads.log_hash(first - 1)
        if previous is None:
            raise broken(Fault.REMOVED, f"{positions(first - 1, first - 1)} removed from the log", first - 1)
        return Chain(first, previous, keys)

    async def _follow(self, chain: Chain, last: int, *, heads: bool) -> None:
        signed = await self._signed(chain.first, last) if heads else {}
        async for row in self._proof.rows(after=chain.position, until=last):
            _take(chain, row)
            if row.position in signed:
                chain.take_head(signed[row.position])
        if chain.position != last:
            raise broken(Fault.REMOVED, f"{positions(chain.next, last)} removed from the log", chain.next)

    async def _signed(self, first: int, last: int) -> dict[int, SignedHead]:
        found: dict[int, SignedHead] = {}
        async for head in self._heads.following(first - 1):
            if head.position > last:
                break
            found[head.position] = head
        return found


def _take(chain: Chain, row: LogRow) -> None:
    if row.position != chain.next:
        message = f"{positions(chain.next, row.position - 1)} removed from the log"
        raise broken(Fault.REMOVED, message, chain.next)
    take_row(chain, row)


def _check_end(chain: Chain, head: LogHead, newest: SignedHead | None) -> None:
    """The chain must end where the log says, and nothing may be signed beyond."""
    if chain.hash != head.hash:
        message = f"the log's head has another hash than its last event, position {head.position}"
        raise broken(Fault.CHANGED, message, head.position)
    if newest is not None and newest.position > head.position:
        chain.check_signature(newest)
        cut = positions(head.position + 1, newest.position)
        raise broken(Fault.REMOVED, f"{cut} signed, and the log ends before: its end was cut off", head.position + 1)
