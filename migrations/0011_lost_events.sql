-- When a standby is promoted that lacked the last commits, events that had positions are gone. The relay notices, and stops.
-- depends: 0010_projection_versions

alter table log_head add column lost_at timestamptz;

comment on column log_head.lost_at is 'Set when a relay found that the log is another than it was: events that had positions are gone. Nothing gets a position until `vigil store repair`.';
