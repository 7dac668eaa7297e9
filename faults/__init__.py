"""The fault suite: Vigil's real processes, harmed on purpose, and a ledger outside them that says what must have come of it.

May import everything; nothing imports it. `python -m faults --seed 1 --seeds 20` runs it (docs/faults.md).
"""
