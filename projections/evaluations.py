"""The tables evaluations and facts: every look at the evidence, and every value that was read."""

from projections.projection import On

ON_EVALUATION_EVENTS = (
    On(
        "evaluation.requested",
        rank=50,
        statements=(
            """
            insert into evaluations (id, monitor_id, owner_id, status, due_at)
            select stream_id, (data->>'monitor_id')::uuid, owner_id, 'queued', (data->>'requested_at')::timestamptz
            from batch
            """,
        ),
    ),
    On(
        "evaluation.fact_extracted",
        rank=54,
        repeatable=True,
        statements=(
            # The facts of a stream may come one batch before its evaluation's outcome; in the same batch they find it made.
            """
            insert into evaluations (id, monitor_id, owner_id, status, due_at)
            select distinct on (stream_id) stream_id, (data->>'monitor_id')::uuid, owner_id, 'running', recorded_at
            from batch order by stream_id, place
            on conflict (id) do nothing
            """,
            """
            insert into facts (evaluation_id, name, monitor_id, type, value, number, unit, confidence, quote,
                               source_url, evidence_hash, observed_at, keys, place, plan_revision, reason)
            select b.stream_id, f->>'name', (b.data->>'monitor_id')::uuid, f->>'type', f->'value',
                   case when jsonb_typeof(f->'value') = 'number' then (f->>'value')::double precision end, f->>'unit',
                   coalesce((f->>'confidence')::double precision, 1), f->>'quote', f->>'source_url',
                   f->>'evidence_hash', (f->>'observed_at')::timestamptz, f->'keys', b.place, e.plan_revision, f->>'reason'
            from (select place, stream_id, data, data->'fact' as f from batch) b join evaluations e on e.id = b.stream_id
            """,
        ),
    ),
    On(
        "evaluation.completed",
        rank=52,
        statements=(
            """
            insert into evaluations (id, monitor_id, owner_id, status, verdict, state_before, state_after, condition,
                                     inputs, reason, streak, evidence, provider, model, cost_micros, saved_micros,
                                     duration_ms, plan_revision, due_at, started_at, completed_at, place)
            select stream_id, (data->>'monitor_id')::uuid, owner_id, 'completed', data->>'verdict',
                   data->>'state_before', data->>'state_after', data->>'condition', data->'inputs', data->>'reason',
                   (data->>'streak')::integer, data->'evidence', data->>'provider', data->>'model',
                   coalesce((data->>'cost_micros')::bigint, 0), coalesce((data->>'saved_micros')::bigint, 0),
                   (data->>'duration_ms')::integer,
                   (data->>'plan_revision')::integer, (data->>'due_at')::timestamptz,
                   (data->>'started_at')::timestamptz, (data->>'completed_at')::timestamptz, place
            from batch
            on conflict (id) do update
            set status = excluded.status, verdict = excluded.verdict, state_before = excluded.state_before,
                state_after = excluded.state_after, condition = excluded.condition, inputs = excluded.inputs,
                reason = excluded.reason, streak = excluded.streak, evidence = excluded.evidence,
                provider = excluded.provider, model = excluded.model, cost_micros = excluded.cost_micros,
                saved_micros = excluded.saved_micros, duration_ms = excluded.duration_ms, plan_revision = excluded.plan_revision, due_at = excluded.due_at,
                started_at = excluded.started_at, completed_at = excluded.completed_at, place = excluded.place
            """,
            # Facts that came one batch before.
            """
            update facts f set plan_revision = (b.data->>'plan_revision')::integer
            from batch b where f.evaluation_id = b.stream_id
            """,
            """
            update monitors m set last_evaluation_id = b.stream_id, last_evaluated_at = b.completed_at
            from (
                select distinct on (data->>'monitor_id') (data->>'monitor_id')::uuid as monitor_id, stream_id,
                       (data->>'completed_at')::timestamptz as completed_at
                from batch order by data->>'monitor_id', place desc
            ) b
            where m.id = b.monitor_id
            """,
        ),
    ),
    On(
        "evaluation.failed",
        rank=53,
        statements=(
            """
            insert into evaluations (id, monitor_id, owner_id, status, evidence, duration_ms, error_code, error_message,
                                     plan_revision, due_at, started_at, completed_at, place)
            select stream_id, (data->>'monitor_id')::uuid, owner_id, 'failed', data->'evidence',
                   (data->>'duration_ms')::integer, data->>'code', data->>'message', (data->>'plan_revision')::integer,
                   (data->>'due_at')::timestamptz, (data->>'started_at')::timestamptz,
                   (data->>'completed_at')::timestamptz, place
            from batch
            on conflict (id) do update
            set status = excluded.status, evidence = excluded.evidence, duration_ms = excluded.duration_ms,
                error_code = excluded.error_code, error_message = excluded.error_message,
                plan_revision = excluded.plan_revision, due_at = excluded.due_at, started_at = excluded.started_at,
                completed_at = excluded.completed_at, place = excluded.place
            """,
        ),
    ),
)
