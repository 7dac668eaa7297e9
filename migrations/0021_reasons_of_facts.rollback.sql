-- Tables from before a rebuild may have been made the live ones again, without it.
alter table read_model.facts drop column if exists reason;
