drop function hold_people(uuid[]);
drop function person_lock(uuid);
drop table person_key;
