-- What readers and aggregates of the `eventsourcing` library keep beside the log. Vigil's own workers use neither table.
-- depends: 0003_read_model

-- How far each of the library's projections has come in the log, moved in the transaction of what it wrote. Not in
-- `checkpoint`: that counts places in partitions, has epochs, and holds back what the log in Redis may forget.
create table eventsourcing_tracking (
    consumer         text   not null,
    application_name text   not null,
    notification_id  bigint not null,
    primary key (consumer, application_name)
);

comment on column eventsourcing_tracking.notification_id is 'A position in the log, or in that of another application; it only grows.';

-- Snapshots of the library's aggregates. They may be deleted at any time: the events say everything.
create table eventsourcing_snapshot (
    originator_id      uuid    not null,
    originator_version integer not null,
    topic              text    not null,
    state              bytea   not null,
    primary key (originator_id, originator_version)
);
