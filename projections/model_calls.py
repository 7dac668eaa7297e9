"""The table model_calls: every call of a model, what it used and what it cost."""

from projections.projection import On

ON_MODEL_CALL_EVENTS = (
    On(
        "model.called",
        rank=90,
        statements=(
            # What the installation asks for itself belongs to nobody. What was under way for a person when they were erased
            # may be told after that, and is passed over as what was there before is removed.
            """
            insert into model_calls (id, owner_id, monitor_id, evaluation_id, task, provider, model, outcome, input_tokens,
                                     output_tokens, cache_read_tokens, cache_write_tokens, searches, cost_micros, prices,
                                     is_estimated, message, started_at, duration_ms)
            select b.stream_id, nullif(b.owner_id, '00000000-0000-7000-8000-000000000000'),
                   (data->>'monitor_id')::uuid, (data->>'evaluation_id')::uuid, data->>'task', data->>'provider',
                   data->>'model', data->>'outcome', coalesce((data->'usage'->>'input_tokens')::bigint, 0),
                   coalesce((data->'usage'->>'output_tokens')::bigint, 0),
                   coalesce((data->'usage'->>'cache_read_tokens')::bigint, 0),
                   coalesce((data->'usage'->>'cache_write_tokens')::bigint, 0),
                   coalesce((data->'usage'->>'searches')::bigint, 0), (data->>'cost_micros')::bigint, data->>'prices',
                   coalesce((data->>'is_estimated')::boolean, false), data->>'message',
                   (data->>'started_at')::timestamptz, (data->>'duration_ms')::bigint
            from batch b left join users u on u.id = b.owner_id
            where u.roles is distinct from '{}'
            """,
        ),
    ),
)
