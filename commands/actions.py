"""Commands on actions: create, revise, delete."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from commands.caller import Caller
from commands.shell import Shell, Written
from commands.streams import Aggregate
from domain import action
from domain.action import Action, ActionConfig

ACTION = Aggregate(initial=Action(), evolve=action.evolve)


class Addresses(Protocol):
    """Who has which address."""

    async def address_of(self, user_id: UUID) -> str:
        """The person's verified address."""
        ...


@dataclass(frozen=True, slots=True)
class ActionCommands:
    """The write side of actions."""

    shell: Shell
    addresses: Addresses

    async def create(
        self, caller: Caller, *, name: str, config: ActionConfig, answer: Callable[[Written[Action]], object]
    ) -> Written[Action]:
        """Describe something to be done."""
        await self.shell.refuse_repeated(caller)
        own = await self.addresses.address_of(caller.user_id)
        events = action.create(name=name, config=config, own_address=own, now=self.shell.now())
        return await self.shell.create(caller, ACTION, self.shell.new_id(), events, answer=answer)

    async def revise(
        self, caller: Caller, action_id: UUID, *, name: str, config: ActionConfig, if_version: int | None
    ) -> Written[Action]:
        """Do it differently from now on."""
        await self.shell.refuse_repeated(caller)
        own = await self.addresses.address_of(caller.user_id)
        now = self.shell.now()
        return await self.shell.change(
            caller,
            ACTION,
            action_id,
            lambda present: action.revise(present, name=name, config=config, own_address=own, now=now),
            if_version=if_version,
        )

    async def delete(self, caller: Caller, action_id: UUID, *, if_version: int | None) -> Written[Action]:
        """Do it no more; triggers that name it do nothing from now on."""
        now = self.shell.now()
        return await self.shell.change(
            caller,
            ACTION,
            action_id,
            lambda present: action.delete(present, now=now),
            if_version=if_version,
            status=204,
        )
