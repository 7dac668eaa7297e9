"""The table actions: what is done when a trigger fires."""

from projections.projection import On

ON_ACTION_EVENTS = (
    On(
        "action.created",
        rank=30,
        statements=(
            """
            insert into actions (id, owner_id, name, config, version, created_at, updated_at)
            select stream_id, owner_id, data->>'name', data->'config', version, (data->>'created_at')::timestamptz,
                   recorded_at
            from batch
            """,
        ),
    ),
    On(
        "action.revised",
        rank=31,
        statements=(
            """
            update actions a
            set name = b.data->>'name', config = b.data->'config', version = b.version, updated_at = b.recorded_at
            from batch b where a.id = b.stream_id
            """,
        ),
    ),
    On(
        "action.deleted",
        rank=91,
        statements=(
            """
            update actions a
            set deleted_at = (b.data->>'deleted_at')::timestamptz, version = b.version, updated_at = b.recorded_at
            from batch b where a.id = b.stream_id
            """,
        ),
    ),
)
