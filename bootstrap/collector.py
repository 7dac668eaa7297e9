"""Python's collector in a process that runs for long: it looks at what comes and goes, not over and over at what stays.

Reference counts free nearly everything; the collector finds what refers to itself, and for that looks at all that is there. A
worker that has begun holds some 260,000 objects which live as long as it does (programs, SDKs, schemas), and keeps what it
knows of monitors besides. Each full collection looked at all of them: it stood still for 0.2 s, at 350 evaluations a second with
a model for 30 % of its time, and took Redis for dead meanwhile (benchmarks/README.md).
"""

import gc

YOUNG_OBJECTS, YOUNG_COLLECTIONS, MIDDLE_COLLECTIONS = 10_000, 20, 20
"""How many objects more than were freed bring on a collection of the young ones, how many of those one of the middle ones,
and how many of those one of all. Python's own are 700, 10 and 10."""


def spare_what_stays() -> None:
    """Free what refers to itself, count what is left as staying for good, and look for more less often. To be called once, when a
    process has all it works with."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, YOUNG_COLLECTIONS, MIDDLE_COLLECTIONS)
