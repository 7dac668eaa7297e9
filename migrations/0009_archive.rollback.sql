drop table archive_segment;
