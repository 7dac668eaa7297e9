drop function hold_people(uuid[]);
drop function person_lock(uuid);
drop table person_key;
drop function refuse_change_of_person_key();
