"""Arming the crash points: the process that the fault suite started so kills itself at a point, by the chance it was given."""

import os
import signal
from collections.abc import Mapping
from random import Random

import structlog

from bootstrap.settings import Settings
from domain.crash_points import CrashPoint, arm

log = structlog.get_logger()

TOLD = "killed at the crash point"
"""What a dying process writes to standard error, with the name of the point: its last words, for whoever counts."""


def arm_crash_points(settings: Settings) -> None:
    """Do what VIGIL_CRASH_POINT says; without it nothing. Says so in the log: nobody should find it out by a crash."""
    if settings.crash_point:
        log.warning("crash points are armed; this process will kill itself", points=dict(settings.crash_point))
        arm(Executioner(dict(settings.crash_point), settings.crash_seed).strike)


class Executioner:
    """Decides at each armed point whether the process dies. The same seed decides alike for the same points in a row."""

    def __init__(self, chances: Mapping[CrashPoint, float], seed: int) -> None:
        self._chances = chances
        self._random = Random(seed)  # noqa: S311  a death that can be repeated, no secret

    def decides(self, point: CrashPoint) -> bool:
        """Whether the process is to die now. Points that are not armed draw no lot, so they change nothing."""
        chance = self._chances.get(point)
        return chance is not None and self._random.random() < chance

    def strike(self, point: CrashPoint) -> None:
        """SIGKILL to ourselves, as a power cut would come: no clean-up, no buffers written, no answer."""
        if self.decides(point):
            os.write(2, f"{TOLD} {point}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)
