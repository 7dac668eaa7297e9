"""The tables monitors and changes: what is watched, the state it is in, and every change of it."""

from projections.projection import On

ON_MONITOR_EVENTS = (
    On(
        "monitor.created",
        rank=20,
        statements=(
            """
            insert into monitors (id, owner_id, name, prompt, kind, status, state, plan, plan_revision, version,
                                  created_at, updated_at)
            select stream_id, owner_id, data->>'name', data->>'prompt', data#>>'{plan,kind}', 'active', 'unknown',
                   data->'plan', 1, version, (data->>'created_at')::timestamptz, recorded_at
            from batch
            """,
        ),
    ),
    On(
        "monitor.renamed",
        rank=21,
        statements=(
            """
            update monitors m set name = b.data->>'name', version = b.version, updated_at = b.recorded_at
            from batch b where m.id = b.stream_id
            """,
        ),
    ),
    On(
        "monitor.plan_revised",
        rank=22,
        statements=(
            """
            update monitors m
            set prompt = b.data->>'prompt', plan = b.data->'plan', kind = b.data#>>'{plan,kind}',
                plan_revision = m.plan_revision + 1,
                state = case when (b.data->>'state_reset')::boolean then 'unknown' else m.state end,
                status = case when m.status = 'failing' then 'active' else m.status end, failing = null,
                version = b.version, updated_at = b.recorded_at
            from batch b where m.id = b.stream_id
            """,
        ),
    ),
    On(
        "monitor.paused",
        rank=23,
        statements=(
            """
            update monitors m set status = 'paused', failing = null, version = b.version, updated_at = b.recorded_at
            from batch b where m.id = b.stream_id
            """,
        ),
    ),
    On(
        "monitor.resumed",
        rank=24,
        statements=(
            """
            update monitors m set status = 'active', failing = null, version = b.version, updated_at = b.recorded_at
            from batch b where m.id = b.stream_id
            """,
        ),
    ),
    On(
        "monitor.recovered",
        rank=58,
        statements=(
            """
            update monitors m set status = 'active', failing = null, version = b.version, updated_at = b.recorded_at
            from batch b where m.id = b.stream_id
            """,
        ),
    ),
    On(
        "monitor.failing",
        rank=59,
        statements=(
            """
            update monitors m
            set status = 'failing', version = b.version, updated_at = b.recorded_at,
                failing = jsonb_build_object('since', b.data->'since', 'failures', b.data->'failures',
                                             'code', b.data->'code', 'message', b.data->'message')
            from batch b where m.id = b.stream_id
            """,
        ),
    ),
    On(
        "monitor.state_changed",
        rank=60,
        statements=(
            """
            insert into changes (id, monitor_id, from_state, to_state, evaluation_id, changed_at)
            select event_id, stream_id, data->>'from_state', data->>'to_state', (data->>'evaluation_id')::uuid,
                   (data->>'changed_at')::timestamptz
            from batch
            """,
            """
            update monitors m set state = b.data->>'to_state', version = b.version, updated_at = b.recorded_at
            from batch b where m.id = b.stream_id
            """,
        ),
    ),
    On(
        "monitor.condition_met_again",
        rank=61,
        statements=(
            "update monitors m set version = b.version, updated_at = b.recorded_at from batch b where m.id = b.stream_id",
        ),
    ),
    On(
        "monitor.deleted",
        rank=90,
        statements=(
            """
            update monitors m
            set status = 'archived', failing = null, deleted_at = (b.data->>'deleted_at')::timestamptz,
                version = b.version, updated_at = b.recorded_at
            from batch b where m.id = b.stream_id
            """,
        ),
    ),
    On(
        "monitor.restored",
        rank=93,
        statements=(
            """
            update monitors m
            set status = 'active', deleted_at = null, version = b.version, updated_at = b.recorded_at
            from batch b where m.id = b.stream_id
            """,
        ),
    ),
)
