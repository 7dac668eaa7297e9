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
)
