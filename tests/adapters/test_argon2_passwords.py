"""Argon2id: parameters, characters, work for nobody, and the event loop staying free."""

import asyncio

import argon2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.argon2_passwords import Argon2Passwords


@pytest.fixture
def passwords() -> Argon2Passwords:
    return Argon2Passwords(passes=1, memory_kib=8, lanes=1)


async def test_the_default_parameters_are_above_the_minimum_of_asvs() -> None:
    hashed = await Argon2Passwords().hash("a few plain words")
    found = argon2.extract_parameters(hashed)
    assert found.type is argon2.Type.ID
    assert (found.time_cost, found.memory_cost, found.parallelism) == (3, 65536, 4)
    assert (found.salt_len, found.hash_len) == (16, 32)


async def test_a_password_fits_its_own_hash_and_no_other(passwords: Argon2Passwords) -> None:
    hashed = await passwords.hash("correct horse")
    assert await passwords.verify(hashed, "correct horse")
    assert not await passwords.verify(hashed, "correct Horse")
    assert not await passwords.verify(hashed, "correct horse ")
    assert not await passwords.verify(hashed, "")
    assert await passwords.hash("correct horse") != hashed


async def test_passwords_that_differ_only_in_byte_73_differ(passwords: Argon2Passwords) -> None:
    hashed = await passwords.hash("x" * 72 + "a")
    assert not await passwords.verify(hashed, "x" * 72 + "b")
    assert not await passwords.verify(hashed, "x" * 72)


async def test_a_letter_is_the_same_however_the_keyboard_composes_it(passwords: Argon2Passwords) -> None:
    assert await passwords.verify(await passwords.hash("schl\u00fcssel"), "schlu\u0308ssel")


@given(st.text(alphabet=st.characters(codec=None), max_size=40))
@settings(max_examples=60)
def test_any_text_can_be_a_password_and_can_be_tried(password: str) -> None:
    async def round_trip() -> None:
        passwords = Argon2Passwords(passes=1, memory_kib=8, lanes=1)
        assert await passwords.verify(await passwords.hash(password), password)
        assert not await passwords.verify(None, password)
        passwords.close()

    asyncio.run(round_trip())


async def test_for_nobody_the_same_hash_is_computed(
    passwords: Argon2Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, computed, fits = await passwords.hash("known"), [], passwords._fits

    def counted(password_hash: str, password: str) -> bool:
        computed.append(password_hash)
        return fits(password_hash, password)

    monkeypatch.setattr(passwords, "_fits", counted)
    assert not await passwords.verify(stored, "guess")
    assert not await passwords.verify(None, "guess")
    assert computed == [stored, passwords._nobodys_hash]
    assert argon2.extract_parameters(passwords._nobodys_hash) == argon2.extract_parameters(stored)


async def test_nothing_fits_nobody_not_even_what_looks_like_nothing(passwords: Argon2Passwords) -> None:
    for guess in ("", "None", "\0", passwords._nobodys_hash):
        assert not await passwords.verify(None, guess)


async def test_a_hash_with_other_parameters_is_outdated_and_still_fits(passwords: Argon2Passwords) -> None:
    stronger = Argon2Passwords(passes=2, memory_kib=16, lanes=1)
    old = await passwords.hash("correct horse")
    assert not passwords.is_outdated(old)
    assert stronger.is_outdated(old)
    assert await stronger.verify(old, "correct horse")


async def test_what_is_no_argon2_hash_is_a_defect_and_not_a_wrong_password(passwords: Argon2Passwords) -> None:
    with pytest.raises(argon2.exceptions.InvalidHashError):
        await passwords.verify("$2b$12$something else", "correct horse")


async def test_the_event_loop_runs_on_while_a_password_is_hashed() -> None:
    passwords = Argon2Passwords(passes=3, memory_kib=16384, lanes=1)
    hashing = asyncio.ensure_future(passwords.hash("correct horse"))
    turns = 0
    while not hashing.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 10


async def test_no_more_than_the_bound_are_hashed_at_once_and_who_waits_can_leave() -> None:
    passwords = Argon2Passwords(at_once_max=2, passes=3, memory_kib=16384, lanes=1)
    waiting = [asyncio.ensure_future(passwords.hash("correct horse")) for _ in range(8)]
    handed_over_max = 0
    while not waiting[0].done():
        await asyncio.sleep(0)
        handed_over_max = max(handed_over_max, passwords._threads._work_queue.qsize())
    assert handed_over_max <= 2, "the others wait before the threads, where they can still leave"
    assert len(passwords._threads._threads) == 2
    for late in waiting[4:]:
        late.cancel()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(outcome, str) for outcome in outcomes] == [True] * 4 + [False] * 4
    assert await passwords.verify(await passwords.hash("still works"), "still works")
