drop index read_model.facts_order;
alter table read_model.facts drop column plan_revision, drop column place, drop column keys;
alter table read_model.evaluations drop column place;
