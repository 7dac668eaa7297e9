alter table log_head drop column lost_at;
