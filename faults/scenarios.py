"""The registry of scenarios, by the rows of the matrix in docs/faults.md, and which of them a seed plays."""

from collections.abc import Sequence
from random import Random

from domain.crash_points import CrashPoint
from faults import engine_scenarios, process_scenarios, redis_scenarios, store_scenarios
from faults.process_scenarios import dying_at
from faults.run import Scenario
from faults.store_scenarios import rebuild_dying_at

SCENARIOS = (
    dying_at(CrashPoint.API_AFTER_COMMIT, 1),
    dying_at(CrashPoint.RELAY_AFTER_SEQUENCING, 2),
    dying_at(CrashPoint.RELAY_AFTER_PUBLISHING, 2),
    dying_at(CrashPoint.PROJECTOR_BEFORE_COMMIT, 3),
    dying_at(CrashPoint.PROJECTOR_AFTER_COMMIT, 3),
    dying_at(CrashPoint.MAILER_AFTER_ACCEPTANCE, 5),
    dying_at(CrashPoint.MAILER_AFTER_RECORD, 5),
    dying_at(CrashPoint.SCHEDULER_BEFORE_ENQUEUE, 6),
    dying_at(CrashPoint.SCHEDULER_AFTER_ENQUEUE, 6),
    dying_at(CrashPoint.EVALUATOR_BEFORE_APPEND, 4),
    dying_at(CrashPoint.EVALUATOR_AFTER_GROUP, 4),
    dying_at(CrashPoint.EVALUATOR_AFTER_APPEND, 4),
    dying_at(CrashPoint.NOTIFIER_AFTER_APPEND, 6),
    dying_at(CrashPoint.NOTIFIER_AFTER_MOVE, 6),
    dying_at(CrashPoint.NOTARY_BEFORE_KEEPING, 6),
    Scenario(7, "Redis forgets", redis_scenarios.forgets),
    Scenario(8, "Redis dies", redis_scenarios.dies),
    Scenario(9, "Redis hangs", redis_scenarios.hangs),
    Scenario(10, "Redis is full", redis_scenarios.is_full),
    Scenario(18, "Redis repeats itself", redis_scenarios.repeats_itself),
    Scenario(19, "poison", store_scenarios.poison),
    Scenario(20, "two of each worker", process_scenarios.two_of_each),
    Scenario(21, "rebuilds under live writes", store_scenarios.rebuilds),
    rebuild_dying_at(CrashPoint.REBUILD_BETWEEN_BATCHES),
    rebuild_dying_at(CrashPoint.REBUILD_BEFORE_SWITCH),
    Scenario(22, "a slow stranger's transaction", store_scenarios.slow_stranger),
    Scenario(29, "sites that want to harm", engine_scenarios.hostile_sites),
    Scenario(30, "asked to stop under load", process_scenarios.asked_to_stop),
    Scenario(31, "an evaluator stands still", engine_scenarios.stands_still),
)

LONG = (
    Scenario(31, "a job kills its workers", engine_scenarios.kills_its_worker),
    Scenario(20, "a thousand monitors, all replaced", engine_scenarios.crowd_replaced),
    Scenario(9, "Redis hangs for 30 s", redis_scenarios.hangs_for_long),
)
"""Of a minute and more: for `make faults`, which plays one of them with every fifth seed."""
LONG_EVERY_SEEDS = 5


_ORDER = Random(46).sample(SCENARIOS, len(SCENARIOS))  # noqa: S311  the same for everybody
"""Shuffled, so that neighbours differ; the longest, which waits 45 s, comes early, so that the others are played beside it."""


def scenarios_of(seed: int, *, long: bool = False) -> Sequence[Scenario]:
    """What a seed plays: one scenario or two, in turns. Each seed goes on where the one before it ended, so that any twenty
    seeds in a row play everything, also of the long ones if those are wanted."""
    played = [_ORDER[place % len(_ORDER)] for place in range((seed - 1) * 3 // 2, seed * 3 // 2)]
    if long and seed % LONG_EVERY_SEEDS == 0:
        played.append(LONG[seed // LONG_EVERY_SEEDS % len(LONG)])
    return played


ELSEWHERE = {
    11: "tests/faults/test_database_faults.py",
    12: "tests/faults/test_lost_commit.py",
    13: "tests/faults/test_database_faults.py",
    15: "tests/faults/test_database_faults.py",
    16: "tests/faults/test_database_faults.py",
    17: "tests/workers/test_jumping_clocks.py",
    23: "tests/faults/test_models_down.py",
    24: "tests/faults/test_models_down.py",
    25: "tests/adapters/test_providers_alike.py",
    26: "tests/faults/test_models_down.py",
}
"""Rows of the matrix that need a PostgreSQL, a connection, a clock or providers of models of their own to break, and the tests that break them."""
