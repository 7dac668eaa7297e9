drop function keep_evidence(uuid, text, text, text, text, text, timestamptz, jsonb, text, bytea, integer, jsonb, timestamptz);
drop function keep_content(text, bytea, integer, jsonb, timestamptz);

drop index source_memory_of_evidence;
alter table source_memory drop column fresh_until, drop column reading;

-- What was let go cannot come back: sources that had it are read as for the first time.
delete from source_memory m using evidence e where e.hash = m.evidence_hash and e.body is null;
delete from evidence where body is null;
drop index evidence_by_age;
alter table evidence
    drop constraint evidence_kept_or_let_go,
    drop column headers,
    drop column last_read_at,
    drop column removed_at,
    alter column body set not null;
