-- What a content came with, how long it is kept, and how long a source says that it stays.
-- depends: 0015_signals

alter table evidence
    add column headers      jsonb       not null default '{}',
    add column last_read_at timestamptz not null default now(),
    add column removed_at   timestamptz,
    alter column body drop not null,
    add constraint evidence_kept_or_let_go check ((body is null) = (removed_at is not null));
comment on table evidence is 'The content of every evidence ever used, once for each hash, compressed with zstd. One that was let go by policy keeps its row without the body.';
comment on column evidence.headers is 'Those worth keeping of the answer that brought it first.';
comment on column evidence.last_read_at is 'When a source answered with it, to about a day; for what was there before this column, when the column came.';
create index evidence_by_age on evidence (last_read_at) where body is not null;

alter table source_memory add column fresh_until timestamptz;
comment on column source_memory.fresh_until is 'Until when the source said that its answer stays as it is (RFC 9111).';
alter table source_memory add column reading jsonb;
comment on column source_memory.reading is 'What was read from the content when it was read last, so that while it stays nobody reads it again.';
create index source_memory_of_evidence on source_memory (evidence_hash);

-- Keeps a content that was read. It usually touches no row that is there and locks none: many keep the same content at once.
create function keep_content(of_hash text, of_body bytea, of_bytes integer, of_headers jsonb, at timestamptz) returns void
language plpgsql as $$
begin
    insert into evidence (hash, body, body_bytes, headers, read_at, last_read_at)
    values (of_hash, of_body, of_bytes, of_headers, at, at)
    on conflict (hash) do nothing;
    if found then
        return;
    end if;
    update evidence set body = of_body, removed_at = null, last_read_at = greatest(last_read_at, at)
    where hash = of_hash and (body is null or last_read_at < at - interval '1 day');
end
$$;

-- Keeps it as the last answer of a source. From then on nobody lets go of it, so that comes before it is kept anew; what the
-- source had until now was its answer until now.
create function keep_evidence(
    of_monitor uuid, of_url text, of_etag text, of_last_modified text, of_type text, of_charset text, until timestamptz,
    of_reading jsonb, of_hash text, of_body bytea, of_bytes integer, of_headers jsonb, at timestamptz
) returns void
language plpgsql as $$
begin
    update evidence set last_read_at = at
    where hash = (select evidence_hash from source_memory where monitor_id = of_monitor and url = of_url)
      and hash <> of_hash and last_read_at < at - interval '1 day';
    insert into evidence (hash, body, body_bytes, headers, read_at, last_read_at)
    values (of_hash, of_body, of_bytes, of_headers, at, at)
    on conflict (hash) do nothing;
    insert into source_memory
        (monitor_id, url, etag, last_modified, content_type, charset, evidence_hash, read_at, fresh_until, reading)
    values (of_monitor, of_url, of_etag, of_last_modified, of_type, of_charset, of_hash, at, until, of_reading)
    on conflict (monitor_id, url) do update
    set etag = excluded.etag, last_modified = excluded.last_modified, content_type = excluded.content_type,
        charset = excluded.charset, evidence_hash = excluded.evidence_hash, read_at = excluded.read_at,
        fresh_until = excluded.fresh_until, reading = excluded.reading;
    perform keep_content(of_hash, of_body, of_bytes, of_headers, at);
end
$$;
