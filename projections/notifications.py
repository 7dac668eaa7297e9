"""The table notifications: what was to be told to whom, and what became of it."""

from projections.projection import On

ON_NOTIFICATION_EVENTS = (
    On(
        "notification.requested",
        rank=80,
        statements=(
            """
            insert into notifications (id, owner_id, kind, recipient, subject, monitor_id, trigger_id, action_id,
                                       evaluation_id, status, next_attempt_at, version, created_at)
            select stream_id, owner_id, data->>'kind', data->>'to', data->>'subject', (data->>'monitor_id')::uuid,
                   (data->>'trigger_id')::uuid, (data->>'action_id')::uuid, (data->>'evaluation_id')::uuid, 'requested',
                   coalesce(data->>'not_before', data->>'requested_at')::timestamptz, version,
                   (data->>'requested_at')::timestamptz
            from batch
            """,
        ),
    ),
    On(
        "notification.deferred",
        rank=81,
        statements=(
            """
            update notifications n
            set status = 'deferred', next_attempt_at = (b.data->>'retry_at')::timestamptz, version = b.version,
                attempts = n.attempts || jsonb_build_array(jsonb_build_object(
                    'at', b.data->'failed_at', 'outcome', 'deferred', 'code', b.data->'code',
                    'message', b.data->'message'))
            from batch b where n.id = b.stream_id
            """,
        ),
    ),
    On(
        "notification.sent",
        rank=82,
        statements=(
            """
            update notifications n
            set status = 'sent', next_attempt_at = null, sent_at = (b.data->>'sent_at')::timestamptz,
                version = b.version,
                attempts = n.attempts || jsonb_build_array(jsonb_build_object(
                    'at', b.data->'sent_at', 'outcome', 'sent', 'code', b.data->'code', 'message', b.data->'message'))
            from batch b where n.id = b.stream_id
            """,
        ),
    ),
    On(
        "notification.failed",
        rank=83,
        statements=(
            """
            update notifications n
            set status = 'failed', next_attempt_at = null, version = b.version,
                attempts = n.attempts || jsonb_build_array(jsonb_build_object(
                    'at', b.data->'failed_at', 'outcome', 'failed', 'code', b.data->'code',
                    'message', b.data->'message'))
            from batch b where n.id = b.stream_id
            """,
        ),
    ),
    On(
        "notification.suppressed",
        rank=84,
        statements=(
            """
            update notifications n
            set status = 'suppressed', next_attempt_at = null, version = b.version,
                attempts = n.attempts || jsonb_build_array(jsonb_build_object(
                    'at', b.data->'suppressed_at', 'outcome', 'suppressed', 'code', null, 'message', b.data->'reason'))
            from batch b where n.id = b.stream_id
            """,
        ),
    ),
)
