"""Given events, when somebody decides, then there are new events, or a refusal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Generic, TypeVar

from domain.errors import RuleViolation
from domain.event import Event

S = TypeVar("S")

Decision = Callable[[S], Sequence[Event]]


@dataclass(frozen=True)
class Given(Generic[S]):
    """A stream that holds `events`."""

    initial: S
    evolve: Callable[[S, Any], S]
    events: tuple[Event, ...] = ()

    def __call__(self, *events: Event) -> "Given[S]":
        """The same stream after more events."""
        return Given(self.initial, self.evolve, (*self.events, *events))

    @property
    def state(self) -> S:
        """What the events add up to."""
        return reduce(self.evolve, self.events, self.initial)

    def when(self, decide: Decision[S]) -> "Outcome[S]":
        """Decide on the present state."""
        try:
            return Outcome(self, decide, tuple(decide(self.state)), None)
        except RuleViolation as refusal:
            return Outcome(self, decide, (), refusal)


@dataclass(frozen=True)
class Outcome(Generic[S]):
    """What a decision came to."""

    given: Given[S]
    decide: Decision[S]
    events: tuple[Event, ...]
    refusal: RuleViolation | None

    def then(self, *expected: Event) -> Given[S]:
        """Exactly these events; the stream that holds them."""
        assert self.refusal is None, self.refusal
        assert self.events == expected
        return self.given(*self.events)

    def then_and_only_once(self, *expected: Event) -> Given[S]:
        """Exactly these events, and deciding the same again adds nothing."""
        after = self.then(*expected)
        after.when(self.decide).changes_nothing()
        return after

    def changes_nothing(self) -> None:
        """No event and no refusal."""
        self.then()

    def is_refused(self, rule: type[RuleViolation], *, field: str | None = None) -> None:
        """Broke this very rule, in this field."""
        assert type(self.refusal) is rule, self.refusal or self.events
        assert self.refusal.field == field
        assert self.refusal.message
