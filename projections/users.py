"""The table users: people as their events tell them."""

from projections.projection import On

ON_USER_EVENTS = (
    On(
        "user.registered",
        rank=10,
        statements=(
            """
            insert into users (id, email, name, timezone, verified, roles, version, created_at, updated_at)
            select stream_id, data->>'email', data->>'name', data->>'timezone', false, array['member'], version,
                   (data->>'registered_at')::timestamptz, recorded_at
            from batch
            """,
        ),
    ),
    On(
        "user.email_verification_requested",
        rank=11,
        statements=(
            "update users u set version = b.version, updated_at = b.recorded_at from batch b where u.id = b.stream_id",
        ),
    ),
    On(
        "user.email_verified",
        rank=12,
        statements=(
            """
            update users u set verified = true, version = b.version, updated_at = b.recorded_at
            from batch b where u.id = b.stream_id
            """,
        ),
    ),
    On(
        "user.registration_repeated",
        rank=13,
        statements=(
            "update users u set version = b.version, updated_at = b.recorded_at from batch b where u.id = b.stream_id",
        ),
    ),
    On(
        "user.role_granted",
        rank=14,
        statements=(
            """
            update users u set roles = u.roles || (b.data->>'role'), version = b.version, updated_at = b.recorded_at
            from batch b where u.id = b.stream_id
            """,
        ),
    ),
    # The placeholders are those of domain/personal_data.py, which a replay reads in the events from before. Everything of
    # the person is changed, so no other event may be handled in the same run.
    On(
        "user.erased",
        rank=99,
        alone=True,
        statements=(
            """
            update users u
            set email = u.id || '@erased.invalid', name = 'erased', timezone = 'UTC', verified = false, roles = '{}',
                version = b.version, updated_at = b.recorded_at
            from batch b where u.id = b.stream_id
            """,
            """
            update monitors m
            set name = 'erased', prompt = 'erased', status = 'archived',
                deleted_at = coalesce(m.deleted_at, (b.data->>'erased_at')::timestamptz),
                plan = m.plan || jsonb_build_object(
                    'explanation', 'erased',
                    'facts', (
                        select jsonb_agg(
                            fact || case when fact->>'description' is null then '{}'
                                    else '{"description": "erased"}' end::jsonb order by place)
                        from jsonb_array_elements(m.plan->'facts') with ordinality as f (fact, place)
                    ),
                    'sources', (
                        select jsonb_agg(
                            source || case when source ? 'headers' then '{"headers": {}}' else '{}' end::jsonb
                            order by place)
                        from jsonb_array_elements(m.plan->'sources') with ordinality as s (source, place)
                    )
                )
            from batch b where m.owner_id = b.stream_id
            """,
            """
            update actions a
            set name = 'erased', deleted_at = coalesce(a.deleted_at, (b.data->>'erased_at')::timestamptz),
                config = a.config || '{"to": []}' || case when a.config->>'subject_template' is null then '{}'
                                                     else '{"subject_template": "erased"}' end::jsonb
            from batch b where a.owner_id = b.stream_id
            """,
            """
            update triggers t
            set name = 'erased', enabled = false,
                deleted_at = coalesce(t.deleted_at, (b.data->>'erased_at')::timestamptz)
            from batch b where t.owner_id = b.stream_id
            """,
            """
            update notifications n
            set recipient = n.owner_id || '@erased.invalid', subject = 'erased', next_attempt_at = null,
                status = case when n.next_attempt_at is null then n.status else 'suppressed' end,
                attempts = coalesce((
                    select jsonb_agg(
                        attempt || case when attempt->>'outcome' = 'suppressed' then '{}'
                                   else '{"message": "erased"}' end::jsonb order by place)
                    from jsonb_array_elements(n.attempts) with ordinality as a (attempt, place)
                ), '[]')
            from batch b where n.owner_id = b.stream_id
            """,
            """
            update signal_sources s
            set name = 'erased', schema = case when s.schema is not null then 'erased' end,
                deleted_at = coalesce(s.deleted_at, (b.data->>'erased_at')::timestamptz)
            from batch b where s.owner_id = b.stream_id
            """,
            """
            update signals s set webhook_id = 'erased', body = 'erased' from batch b where s.owner_id = b.stream_id
            """,
            "delete from model_calls c using batch b where c.owner_id = b.stream_id",
        ),
    ),
)
