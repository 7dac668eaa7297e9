-- Which part of the log has its closed evaluations in archive files.
-- depends: 0008_snapshots

select 1;
