"""The ledger: what happened in the world, as the people, the shops and the mail server outside Vigil saw it.

Nothing in it is read from Vigil's tables. What Vigil stores, shows and sends is compared with it afterwards.
"""

from dataclasses import dataclass, field
from datetime import datetime
from signal import SIGKILL


@dataclass
class Attempt:
    """One request of a command. `status` is None when no answer came; `position` is the answer's Vigil-Position."""

    began_at: float
    ended_at: float = 0.0
    status: int | None = None
    position: str | None = None


@dataclass
class Command:
    """A thing somebody wanted done, however often it had to be asked. `marker` is a name that no other command uses; `makes`
    is the type of the event that begins a stream, for a command that makes something. `stream_id`, `version` and `secret` are
    what the answer told."""

    person: str
    method: str
    path: str
    marker: str
    makes: str | None = None
    attempts: list[Attempt] = field(default_factory=list)
    stream_id: str | None = None
    version: int | None = None
    secret: str = ""

    @property
    def acknowledged(self) -> bool:
        """Whether somebody was told that it is done."""
        return any(attempt.status is not None and attempt.status < 300 for attempt in self.attempts)


@dataclass(frozen=True)
class Read:
    """A read that asked to be at least as fresh as a position. `wanted` and `shown` are versions of the thing that was
    written there; `shown` is None when the thing was not there."""

    person: str
    path: str
    position: str
    status: int
    wanted: int
    shown: int | None
    names: tuple[str, ...]


@dataclass
class Flip:
    """A shop's price fell under what its watcher waits for; `seen` when the API told that the monitor is active. The price
    is like no other."""

    person: str
    monitor_id: str
    price: int
    seen: bool = False


@dataclass
class Sent:
    """A signal that somebody's device sent, as often as it took to be answered. `temperature` is like no other; `evaluations`
    are what the answer said it asked for, None as long as no answer came."""

    person: str
    webhook_id: str
    temperature: int
    evaluations: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Mail:
    """A mail that the mail server took responsibility for (250)."""

    to: str
    message_id: str
    subject: str
    text: str
    received_at: datetime


@dataclass(frozen=True)
class Death:
    """A process that ended: at a crash point, by a signal from outside, or (neither) by itself."""

    process: str
    roles: tuple[str, ...]
    status: int
    crash_point: str | None
    asked: bool
    seconds: float
    at: datetime

    @property
    def leaves_mails_in_doubt(self) -> bool:
        """Whether mails that this process was sending may come again: it sends several at once, so wherever it was killed
        one of them may have been between the server's 250 and its record."""
        return "mailer" in self.roles and self.status < 0


@dataclass
class Ledger:
    """Everything, in the order it happened."""

    commands: list[Command] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    flips: list[Flip] = field(default_factory=list)
    signals: list[Sent] = field(default_factory=list)
    mails: list[Mail] = field(default_factory=list)
    deaths: list[Death] = field(default_factory=list)
    appended: list[tuple[str, int]] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict)
    own_names: dict[str, set[str]] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    poison: set[str] = field(default_factory=set)
    troubles: list[str] = field(default_factory=list)

    def kills(self) -> int:
        """How many processes were killed, by themselves at a crash point or from outside."""
        return sum(1 for death in self.deaths if death.status == -SIGKILL)
