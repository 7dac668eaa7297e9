"""The points of the code at which the fault suite lets a process die, by name.

Production code says `reached(CrashPoint.X)` where a death would be worst: between two effects that belong together.
Nothing happens there, unless a process was started with the setting VIGIL_CRASH_POINT (see docs/faults.md).
"""

from collections.abc import Callable
from enum import StrEnum


class CrashPoint(StrEnum):
    """Where, and what would have been done without having been told to somebody."""

    API_AFTER_COMMIT = "api.after_commit"
    """The command's events are stored; the caller has no answer."""
    RELAY_AFTER_SEQUENCING = "relay.after_sequencing"
    """The events have positions; Redis does not have them."""
    RELAY_AFTER_PUBLISHING = "relay.after_publishing"
    """Redis has the events; the relay knows nothing of it any more."""
    PROJECTOR_BEFORE_COMMIT = "projector.before_commit"
    """The rows and the checkpoint are written and not committed."""
    PROJECTOR_AFTER_COMMIT = "projector.after_commit"
    """They are committed; the projector does not remember its new places."""
    SCHEDULER_BEFORE_ENQUEUE = "scheduler.before_enqueue"
    """The jobs are claimed; nobody has them."""
    SCHEDULER_AFTER_ENQUEUE = "scheduler.after_enqueue"
    """The jobs are in the queue."""
    EVALUATOR_BEFORE_APPEND = "evaluator.before_append"
    """The source was read and judged; nothing is recorded."""
    EVALUATOR_AFTER_GROUP = "evaluator.after_group"
    """Evaluations that finished together are recorded, in one commit; those who wait for that do not know it."""
    EVALUATOR_AFTER_APPEND = "evaluator.after_append"
    """The evaluation is recorded; its job is not acknowledged."""
    NOTIFIER_AFTER_APPEND = "notifier.after_append"
    """The firings are recorded; the checkpoint stands before the changes that led to them."""
    NOTIFIER_AFTER_MOVE = "notifier.after_move"
    """The checkpoint has moved; the notifier does not remember it."""
    MAILER_AFTER_ACCEPTANCE = "mailer.after_acceptance"
    """The mail server took the mail (250); that is not recorded. The one window for a second mail (RFC 1047)."""
    MAILER_AFTER_RECORD = "mailer.after_record"
    """The delivery is recorded."""
    NOTARY_BEFORE_KEEPING = "notary.before_keeping"
    """The head of the log is signed; the signature is not kept."""
    REBUILD_BETWEEN_BATCHES = "rebuild.between_batches"
    """Part of the log is replayed into the shadow tables."""
    REBUILD_BEFORE_SWITCH = "rebuild.before_switch"
    """The shadow tables are complete and have not taken the place of the live ones."""


_strike: Callable[[CrashPoint], None] | None = None


def reached(point: CrashPoint) -> None:
    """Say that the process is at `point` now; returns, unless the process dies there."""
    if _strike is not None:
        _strike(point)


def arm(strike: Callable[[CrashPoint], None] | None) -> None:
    """Call `strike` at every point from now on; None disarms. Once for a process, by what put it together."""
    global _strike  # noqa: PLW0603  one process dies once; passing this through every constructor would serve nothing
    _strike = strike
