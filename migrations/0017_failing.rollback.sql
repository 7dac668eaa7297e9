update read_model.monitors set status = 'active' where status = 'failing';
alter table read_model.monitors drop column failing;
