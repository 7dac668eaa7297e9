-- Why a model answered a question with yes or no.
-- depends: 0020_model_answers

alter table read_model.facts add column reason text;
comment on column read_model.facts.reason is 'Why a model says yes or no.';
