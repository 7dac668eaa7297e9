"""A circuit breaker: whether a provider and its model are worth asking (Nygard, Release It!, "Circuit Breaker").

Closed: everybody asks, and how it ends is counted. Open: it rests, nobody asks. Half open: it has rested, and one call at a
time tries whether it works again; an answer closes the breaker, a failure lets it rest for longer.
"""

from enum import StrEnum

import msgspec

from domain.model_call import UNAVAILABLE, CallOutcome

WINDOW_SECONDS = 30.0
WINDOW_BUCKETS = 10
CALLS_MIN = 5
"""Fewer calls within the window are no rate."""
FAILURES_IN_A_ROW = 5
"""However long they take: where little is asked, the window never holds `CALLS_MIN`."""

REST_SECONDS, REST_SECONDS_MAX = 5.0, 300.0
"""The first rest; each failed probe doubles it."""
AUTH_REST_SECONDS = 60.0
"""At least so long after the key was not taken: only people make that right."""
PROBE_SECONDS_MAX = 35.0
"""Above the longest call (30 s): a probe that has not ended by now died with its process."""

_CERTAIN = UNAVAILABLE | {CallOutcome.AUTH}
FAILURES = _CERTAIN | {CallOutcome.MALFORMED}
"""What speaks against the provider. A dead gateway that answers 200 and HTML is `malformed`, and so is what a model makes
of a page it cannot read: that counts in the rate, where others' answers outweigh it, and not in a row, so that one page
which comes up again and again shuts out nobody. `refused`, `truncated` and `bad_request` speak of what was asked."""


class BreakerState(StrEnum):
    """Whether calls are made."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class BreakerView(msgspec.Struct, frozen=True, kw_only=True):
    """How a breaker stands: `failures` since the last answer, for how many seconds it has not been closed and how many it
    rests from now, and `because` of what last failure, if that is known; `is_shared` when all processes know it, not this
    one alone."""

    provider: str
    model: str
    state: BreakerState
    failures: int = 0
    open_seconds: float = 0.0
    rest_seconds: float = 0.0
    because: CallOutcome | None = None
    is_shared: bool = False


class Breaker:
    """One provider's and model's. Times are seconds of any clock; one that is set back lets nothing rest for longer than
    its whole rest from then on.

    A call belongs to the `turn` in which it was allowed: each change and each probe begins a new one, so that what began
    before says nothing about now.
    """

    __slots__ = (
        "_opened_at",
        "_probe_at",
        "_rest",
        "_rest_from",
        "_row",
        "_window",
        "because",
        "failures",
        "pause_seconds",
        "turn",
    )

    def __init__(self) -> None:
        self.turn = 0
        self.failures = 0
        self.because: CallOutcome | None = None
        self.pause_seconds = 0.0
        self._row = 0
        self._window = _Window()
        self._opened_at = self._rest_from = self._rest = 0.0
        self._probe_at: float | None = None

    @property
    def is_closed(self) -> bool:
        """Whether everybody asks."""
        return self.pause_seconds == 0

    def state(self, now: float) -> BreakerState:
        """How it stands."""
        if self.is_closed:
            return BreakerState.CLOSED
        return BreakerState.OPEN if self.rest_seconds(now) > 0 else BreakerState.HALF_OPEN

    def rest_seconds(self, now: float) -> float:
        """How long it rests from now."""
        self._rest_from = min(self._rest_from, now)
        return max(0.0, self._rest - (now - self._rest_from))

    def open_seconds(self, now: float) -> float:
        """How long it has not been closed."""
        return 0.0 if self.is_closed else max(0.0, now - self._opened_at)

    def ask(self, now: float) -> int | None:
        """The turn of a call that may be made now, None when there may be none. Of a half open breaker it is the probe."""
        if self.is_closed:
            return self.turn
        rest, is_probed = self.rest_seconds(now), self._is_probed(now)  # both see a clock that was set back
        if rest > 0 or is_probed:
            return None
        self._probe_at = now
        self.turn += 1
        return self.turn

    def note(self, turn: int, outcome: CallOutcome, now: float) -> None:
        """How a call of that turn ended; with `budget_exceeded` it was not made, and another one may be the probe."""
        if turn != self.turn:
            return
        if outcome is CallOutcome.BUDGET_EXCEEDED:
            self._probe_at = None
        elif self.is_closed:
            self._count(outcome, now)
        elif self._probe_at is not None:
            if outcome in FAILURES:
                self._open(outcome, now)
            else:  # it answered, whatever it thinks of what was asked
                self.close()

    def close(self) -> None:
        """It works: found here by a probe, or by somebody else."""
        self.failures = 0
        self.because = None
        self.pause_seconds = 0.0
        self._begin_turn()

    def rest(
        self,
        now: float,
        *,
        seconds: float,
        pause_seconds: float,
        failures: int,
        open_seconds: float,
        because: CallOutcome | None,
    ) -> None:
        """Somebody else found that it does not work: it rests for `seconds` more of a rest of `pause_seconds`."""
        self._opened_at = now - open_seconds
        self.failures, self.because = failures, because
        self._rest_for(seconds, pause_seconds, now)

    def _count(self, outcome: CallOutcome, now: float) -> None:
        if outcome is CallOutcome.OK:
            self.failures = self._row = 0
        elif outcome in FAILURES:
            self.because = outcome  # an answer may be the call after which the rate is too high
            self.failures += 1
            self._row += outcome in _CERTAIN
        else:
            return
        is_too_much = self._window.counts_too_much(now, failed=outcome is not CallOutcome.OK)
        if is_too_much or self._row >= FAILURES_IN_A_ROW or outcome is CallOutcome.AUTH:
            self._open(outcome, now)

    def _open(self, outcome: CallOutcome, now: float) -> None:
        if self.is_closed:
            self._opened_at = now
        else:
            self.failures, self.because = self.failures + 1, outcome
        least = AUTH_REST_SECONDS if outcome is CallOutcome.AUTH else REST_SECONDS
        pause = max(2 * self.pause_seconds, least)
        self._rest_for(pause, pause, now)

    def _rest_for(self, seconds: float, pause: float, now: float) -> None:
        self.pause_seconds = min(max(pause, REST_SECONDS), REST_SECONDS_MAX)
        self._rest_from, self._rest = now, min(max(seconds, 0.0), self.pause_seconds)
        self._begin_turn()

    def _begin_turn(self) -> None:
        self.turn += 1
        self._row = 0
        self._window = _Window()
        self._probe_at = None

    def _is_probed(self, now: float) -> bool:
        if self._probe_at is None:
            return False
        self._probe_at = min(self._probe_at, now)
        return now - self._probe_at < PROBE_SECONDS_MAX


class _Window:
    """Calls and failures of the last `WINDOW_SECONDS`, in buckets: [number of the bucket, calls, failures]."""

    __slots__ = ("_buckets",)

    def __init__(self) -> None:
        self._buckets: list[list[int]] = []

    def counts_too_much(self, now: float, *, failed: bool) -> bool:
        """Count one call; whether at least half of at least `CALLS_MIN` failed."""
        number = int(now / (WINDOW_SECONDS / WINDOW_BUCKETS))
        if not self._buckets or self._buckets[-1][0] != number:
            oldest = number - WINDOW_BUCKETS
            self._buckets = [bucket for bucket in self._buckets if oldest < bucket[0] < number]
            self._buckets.append([number, 0, 0])
        self._buckets[-1][1] += 1
        self._buckets[-1][2] += failed
        calls = sum(bucket[1] for bucket in self._buckets)
        return calls >= CALLS_MIN and 2 * sum(bucket[2] for bucket in self._buckets) >= calls
