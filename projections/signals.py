"""The tables signal_sources and signals: where others send, and what came from there."""

from projections.projection import On

ON_SIGNAL_EVENTS = (
    On(
        "signal_source.created",
        rank=32,
        statements=(
            """
            insert into signal_sources (id, owner_id, name, schema, silent_after_seconds, version, created_at, updated_at)
            select stream_id, owner_id, data->>'name', data->>'schema', (data->>'silent_after_seconds')::bigint, version,
                   (data->>'created_at')::timestamptz, recorded_at
            from batch
            """,
        ),
    ),
    On(
        "signal_source.revised",
        rank=33,
        statements=(
            """
            update signal_sources s
            set name = b.data->>'name', schema = b.data->>'schema',
                silent_after_seconds = (b.data->>'silent_after_seconds')::bigint, version = b.version,
                updated_at = b.recorded_at
            from batch b where s.id = b.stream_id
            """,
        ),
    ),
    On(
        "signal_source.secret_rotated",
        rank=34,
        statements=(
            """
            update signal_sources s
            set overlap_ends_at = (b.data->>'overlap_ends_at')::timestamptz, version = b.version,
                updated_at = b.recorded_at
            from batch b where s.id = b.stream_id
            """,
        ),
    ),
    On(
        "signal.received",
        rank=45,
        statements=(
            """
            insert into signals (id, source_id, owner_id, webhook_id, body, evaluations, sent_at, received_at)
            select stream_id, (data->>'source_id')::uuid, owner_id, data->>'webhook_id', data->>'body',
                   array(select jsonb_array_elements_text(data->'evaluations')::uuid),
                   (data->>'sent_at')::timestamptz, (data->>'received_at')::timestamptz
            from batch
            """,
            """
            update signal_sources s
            set signals = s.signals + b.signals, last_received_at = greatest(s.last_received_at, b.last_received_at)
            from (
                select (data->>'source_id')::uuid as source_id, count(*) as signals,
                       max((data->>'received_at')::timestamptz) as last_received_at
                from batch group by 1
            ) b
            where s.id = b.source_id
            """,
        ),
    ),
    On(
        "signal_source.deleted",
        rank=94,
        statements=(
            """
            update signal_sources s
            set deleted_at = (b.data->>'deleted_at')::timestamptz, version = b.version, updated_at = b.recorded_at
            from batch b where s.id = b.stream_id
            """,
        ),
    ),
)
