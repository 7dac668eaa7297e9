-- Signatures of the log's head: what whoever can write to this database, but has no key, cannot make again.
-- depends: 0004_eventsourcing_tracking

create table signed_head (
    position  bigint      not null primary key check (position > 0),
    hash      bytea       not null check (length(hash) = 32),
    signed_at timestamptz not null,
    key_id    text        not null check (key_id ~ '^[0-9a-f]{64}$'),
    signature bytea       not null check (length(signature) = 64)
);

comment on table signed_head is 'The hash the log had at a position, signed with Ed25519 (docs/evidence.md). Never updated, never deleted.';
comment on column signed_head.key_id is 'sha256 of the public key''s 32 bytes.';

create function refuse_change_of_signed_head() returns trigger
language plpgsql as $$
begin
    raise exception 'what was signed is never changed' using errcode = 'restrict_violation';
end
$$;

create trigger signed_head_is_append_only before update or delete or truncate on signed_head
for each statement execute function refuse_change_of_signed_head();
