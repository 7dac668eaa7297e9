"""The projection `core`: all tables that refer to each other, in step with each other."""

from projections.actions import ON_ACTION_EVENTS
from projections.evaluations import ON_EVALUATION_EVENTS
from projections.model_calls import ON_MODEL_CALL_EVENTS
from projections.monitors import ON_MONITOR_EVENTS
from projections.notifications import ON_NOTIFICATION_EVENTS
from projections.projection import Projection
from projections.signals import ON_SIGNAL_EVENTS
from projections.triggers import ON_TRIGGER_EVENTS
from projections.users import ON_USER_EVENTS

CORE = Projection(
    name="core",
    version=3,
    handlers=(
        *ON_USER_EVENTS,
        *ON_MONITOR_EVENTS,
        *ON_ACTION_EVENTS,
        *ON_TRIGGER_EVENTS,
        *ON_EVALUATION_EVENTS,
        *ON_NOTIFICATION_EVENTS,
        *ON_SIGNAL_EVENTS,
        *ON_MODEL_CALL_EVENTS,
    ),
)

TABLES = (
    "users",
    "monitors",
    "evaluations",
    "facts",
    "changes",
    "actions",
    "triggers",
    "firings",
    "notifications",
    "signal_sources",
    "signals",
    "model_calls",
)
"""The tables of the schema `read_model`, parents first."""
