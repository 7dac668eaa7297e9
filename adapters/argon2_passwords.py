"""Passwords hashed with Argon2id, off the event loop and within a bound of memory."""

import asyncio
import secrets
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import VerifyMismatchError

T = TypeVar("T")


class Argon2Passwords:
    """Fulfils the port `commands.identity_ports.Passwords`.

    The parameters are RFC 9106's second recommended option (section 4: 3 passes, 64 MiB, 4 lanes, salt of 16 and hash
    of 32 bytes), above the minimum of ASVS 5.0, appendix C. `at_once_max` hashes run at the same time, so their memory
    stays below `at_once_max * memory_kib`; others wait in line. Making one costs one hash.
    """

    def __init__(self, *, at_once_max: int = 2, passes: int = 3, memory_kib: int = 65536, lanes: int = 4) -> None:
        self._hasher = PasswordHasher(
            time_cost=passes, memory_cost=memory_kib, parallelism=lanes, hash_len=32, salt_len=16, type=Type.ID
        )
        # Who is cancelled while waiting never costs a hash (the semaphore), and a hash whose caller has left still
        # counts until it is done (the threads).
        self._turns = asyncio.Semaphore(at_once_max)
        self._threads = ThreadPoolExecutor(max_workers=at_once_max, thread_name_prefix="argon2")
        self._nobodys_hash = self._hasher.hash(secrets.token_bytes(32))

    async def hash(self, password: str) -> str:
        """An Argon2id hash in PHC form, with its own random salt."""
        return await self._in_turn(lambda: self._hasher.hash(_bytes(password)))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether it fits; with None a hash that nothing fits is computed all the same (ASVS 6.3.8).

        Raises `argon2.exceptions.InvalidHashError` when what was stored is no Argon2 hash: a defect, not a wrong guess.
        """
        return await self._in_turn(lambda: self._fits(password_hash or self._nobodys_hash, password))

    def is_outdated(self, password_hash: str) -> bool:
        """Whether it was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(password_hash)

    def close(self) -> None:
        """Let the threads go when they are done; nothing can be hashed afterwards."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _fits(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, _bytes(password))
        except VerifyMismatchError:
            return False

    async def _in_turn(self, work: Callable[[], T]) -> T:
        async with self._turns:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _bytes(password: str) -> bytes:
    """Every character counts, none is folded; NFC because keyboards differ in how they write one and the same character
    (RFC 8265, 4.2.2). `surrogatepass` because any text may be tried, and none may be told apart by a failure."""
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
