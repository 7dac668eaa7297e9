"""What the collector of a process does once that has all it works with: in a process of its own, because it is for good."""

import subprocess
import sys

ONE_KNOT = """
import gc, weakref
class Knot:
    def __init__(self): self.itself = self
"""


def told_by(program: str) -> list[str]:
    """The words a program prints."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.split()


def test_what_was_there_is_not_looked_at_any_more_and_was_freed_before_if_nobody_held_it() -> None:
    left, held, frozen = told_by(
        f"{ONE_KNOT}\n"
        "from bootstrap.collector import spare_what_stays\n"
        "kept = Knot(); lost = weakref.ref(Knot())\n"
        "spare_what_stays()\n"
        "print(lost() is not None, any(one is kept for one in gc.get_objects()), gc.get_freeze_count() > 1000)"
    )
    assert (left, held, frozen) == ("False", "False", "True")


def test_what_refers_to_itself_and_comes_later_is_still_freed_without_being_asked_for() -> None:
    [freed] = told_by(
        f"{ONE_KNOT}\n"
        "from bootstrap.collector import YOUNG_OBJECTS, spare_what_stays\n"
        "spare_what_stays()\n"
        "lost = weakref.ref(Knot()); new = [[] for _ in range(2 * YOUNG_OBJECTS)]\n"
        "print(lost() is None)"
    )
    assert freed == "True"
