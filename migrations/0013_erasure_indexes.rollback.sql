-- Tables from before a rebuild may have been made the live ones again, without these.
drop index if exists read_model.monitors_of_person, read_model.actions_of_person, read_model.triggers_of_person;

drop index session_of_user;
create index session_of_user on session (user_id) where ended_at is null;

drop index reservation_of_person, reservation_of_stream, evaluation_request_of_owner, schedule_of_owner;
