"""Budgets: what may be spent on models in a day, and what is told when it runs short. Money is in millionths of a US dollar.

A day is one of UTC, so that it ends for everybody at the same moment.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_CEILING, Decimal
from uuid import UUID, uuid5

import msgspec

from domain.event import Event, stored_as
from domain.model_call import Task, TokenUsage
from domain.operation import INSTALLATION

MICROS = 1_000_000
CURRENCY = "USD"
CENT = Decimal("0.01")
COUNT_MAX = 10**9
"""No call has more tokens, or searches: what a provider counts beyond that is a mistake, and is counted as that."""


@stored_as("budget.exhausted")
class BudgetExhausted(Event, frozen=True, kw_only=True):
    """A call was not made, because it could have cost more than is left of the day's budget of `scope`: a person, or the
    installation. A stream of one event for each scope and day, owned by the scope; it is also what all that follows from it
    is correlated by."""

    scope: UUID
    day: date
    limit_micros: int
    spent_micros: int
    exhausted_at: datetime


BudgetEvent = BudgetExhausted


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """What may be spent in a day on behalf of each person, and on behalf of everybody together. None: any amount."""

    person_day_micros: int | None = None
    installation_day_micros: int | None = None

    def of(self, scope: UUID) -> int | None:
        """The limit of a person, or of `INSTALLATION`."""
        return self.installation_day_micros if scope == INSTALLATION else self.person_day_micros


class OpenCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call that was admitted and is not recorded yet: it is under way, or whoever made it is gone. `set_aside_micros` is the
    most it can cost."""

    id: UUID
    owner_id: UUID
    monitor_id: UUID | None
    evaluation_id: UUID | None
    task: Task
    provider: str
    model: str
    set_aside_micros: int
    started_at: datetime


def plausible(usage: TokenUsage) -> TokenUsage:
    """Counts as they can be, whatever a provider says: none is below 0, and what was read from and written to its cache went
    in, too."""
    counts = {name: min(max(0, getattr(usage, name)), COUNT_MAX) for name in usage.__struct_fields__}
    counts["input_tokens"] = max(counts["input_tokens"], counts["cache_read_tokens"] + counts["cache_write_tokens"])
    return TokenUsage(**counts)


def micros_of(dollars: Decimal) -> int:
    """US dollars as millionths of one, rounded up; raises `ValueError` for less than nothing, or no number."""
    if not dollars.is_finite() or dollars < 0:
        raise ValueError("an amount of money is a number, and not below 0")
    return int((dollars * MICROS).to_integral_value(ROUND_CEILING))


def dollars(micros: int) -> str:
    """An amount as people write it: two decimals, and more only where there is more to say."""
    amount = Decimal(micros) / MICROS
    exact = amount.normalize()
    shown = exact if exact.quantize(CENT) != exact else exact.quantize(CENT)
    return f"{shown:f} {CURRENCY}"


def day_of(moment: datetime) -> date:
    """The day whose budget a call of this moment is paid from."""
    return moment.astimezone(UTC).date()


def ends_at(day: date) -> datetime:
    """When the budget of a day is over and that of the next one begins."""
    return datetime.combine(day + timedelta(days=1), time(), tzinfo=UTC)


def budget_stream(scope: UUID, day: date) -> UUID:
    """The stream that says that the budget of a scope ran short on a day."""
    return uuid5(scope, f"budget {day.isoformat()}")


def budget_mail_id(stream_id: UUID, person_id: UUID) -> UUID:
    """The notification that tells a person of it, once."""
    return uuid5(stream_id, person_id.hex)


def is_spent(scope: UUID, limit_micros: int, *, spent_micros: int, most_micros: int) -> str:
    """Why a call is not made that can cost `most_micros`, when that is more than is left. Another one that costs less may be."""
    left = limit_micros - spent_micros
    is_left = f"{dollars(left)} is left" if left > 0 else "nothing is left"
    return (
        f"of {_whose(scope)} AI budget of {dollars(limit_micros)} for today {is_left}, and this call may cost"
        f" {dollars(most_micros)}; the next budget begins at midnight UTC"
    )


def is_set_aside(scope: UUID, limit_micros: int) -> str:
    """Why a call is not made, when calls under way may yet cost what is left."""
    of = f"{_whose(scope)} AI budget of {dollars(limit_micros)} for today"
    return f"what is left of {of} is set aside for calls under way until they have ended"


def budget_subject(scope: UUID) -> str:
    """The subject of the mail that tells of it."""
    return f"Vigil: {_whose(scope)} AI budget for today has run short"


def _whose(scope: UUID) -> str:
    return "this installation's" if scope == INSTALLATION else "your"
