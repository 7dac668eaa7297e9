"""Roles end together: one that ends on its own takes the others down, and is named."""

import asyncio

import pytest

from bootstrap.roles import Role, RoleEnded, running
from workers.lifecycle import Stop


class Waits:
    async def run(self, stop: Stop) -> None:
        await stop.within(60)


class Fails:
    async def run(self, stop: Stop) -> None:
        await asyncio.sleep(0)
        raise ValueError("out of luck")


class Ends:
    async def run(self, stop: Stop) -> None:
        return


class FailsAtTheEnd:
    async def run(self, stop: Stop) -> None:
        await stop.within(60)
        raise ValueError("no lease to give back")


@pytest.mark.parametrize(
    ("role", "told"), [(Fails(), "the odd failed: ValueError"), (Ends(), "the odd ended by itself")]
)
async def test_a_role_that_ends_unasked_stops_the_others_and_is_named(role: Role, told: str) -> None:
    stop = Stop()
    with pytest.raises(RoleEnded, match=told):
        async with running({"even": Waits(), "odd": role}, stop):
            assert await stop.within(10)


async def test_roles_that_were_asked_to_stop_end_in_peace() -> None:
    stop = Stop()
    async with running({"even": Waits(), "odd": Waits()}, stop):
        stop.ask()


async def test_leaving_asks_to_stop() -> None:
    stop = Stop()
    async with running({"even": Waits()}, stop):
        pass
    assert stop.asked


async def test_what_fails_after_it_was_asked_is_no_failure_of_the_whole() -> None:
    """A lease that cannot be given back expires by itself."""
    stop = Stop()
    async with running({"even": FailsAtTheEnd()}, stop):
        stop.ask()


async def test_an_error_of_the_body_is_not_replaced() -> None:
    stop = Stop()
    with pytest.raises(KeyError):
        async with running({"even": Waits()}, stop):
            raise KeyError
