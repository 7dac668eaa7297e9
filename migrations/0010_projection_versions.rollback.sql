drop table projection_tables;
