"""The tables triggers and firings: what sets off what, and every time it did or was held back."""

from projections.projection import On

ON_TRIGGER_EVENTS = (
    On(
        "trigger.created",
        rank=40,
        statements=(
            """
            insert into triggers (id, owner_id, monitor_id, action_id, name, condition, frequency, cooldown_seconds,
                                  enabled, created_place, version, created_at, updated_at)
            select stream_id, owner_id, (data->>'monitor_id')::uuid, (data->>'action_id')::uuid, data->>'name',
                   data->>'condition', data->>'frequency', (data->>'cooldown_seconds')::integer, true, place, version,
                   (data->>'created_at')::timestamptz, recorded_at
            from batch
            """,
        ),
    ),
    On(
        "trigger.revised",
        rank=41,
        statements=(
            """
            update triggers t
            set action_id = (b.data->>'action_id')::uuid, name = b.data->>'name', condition = b.data->>'condition',
                frequency = b.data->>'frequency', cooldown_seconds = (b.data->>'cooldown_seconds')::integer,
                version = b.version, updated_at = b.recorded_at
            from batch b where t.id = b.stream_id
            """,
        ),
    ),
    On(
        "trigger.disabled",
        rank=42,
        statements=(
            """
            update triggers t set enabled = false, version = b.version, updated_at = b.recorded_at
            from batch b where t.id = b.stream_id
            """,
        ),
    ),
    On(
        "trigger.enabled",
        rank=43,
        statements=(
            """
            update triggers t set enabled = true, version = b.version, updated_at = b.recorded_at
            from batch b where t.id = b.stream_id
            """,
        ),
    ),
    On(
        "trigger.fired",
        rank=70,
        statements=(
            """
            insert into firings (id, trigger_id, evaluation_id, outcome, fired_at)
            select (data->>'firing_id')::uuid, stream_id, (data->>'evaluation_id')::uuid, 'fired',
                   (data->>'fired_at')::timestamptz
            from batch
            """,
            "update triggers t set version = b.version, updated_at = b.recorded_at from batch b where t.id = b.stream_id",
        ),
    ),
    On(
        "trigger.suppressed",
        rank=71,
        statements=(
            """
            insert into firings (id, trigger_id, evaluation_id, outcome, reason, fired_at)
            select (data->>'firing_id')::uuid, stream_id, (data->>'evaluation_id')::uuid, 'suppressed',
                   data->>'reason', (data->>'suppressed_at')::timestamptz
            from batch
            """,
            "update triggers t set version = b.version, updated_at = b.recorded_at from batch b where t.id = b.stream_id",
        ),
    ),
    On(
        "trigger.deleted",
        rank=92,
        statements=(
            """
            update triggers t
            set deleted_at = (b.data->>'deleted_at')::timestamptz, enabled = false, version = b.version,
                updated_at = b.recorded_at
            from batch b where t.id = b.stream_id
            """,
        ),
    ),
)
