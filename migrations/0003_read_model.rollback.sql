drop schema read_model cascade;
