drop table person_key;
