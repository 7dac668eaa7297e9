"""What is true: events, aggregates, plans, schedules, as pure functions over frozen structs.

Imports the standard library's values, msgspec and cronsim (calendar arithmetic), nothing that does I/O.
Next: `commands` decides with these functions and hands the events to the event store.
"""
