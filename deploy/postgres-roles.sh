#!/bin/sh
# Run by the PostgreSQL image when it makes its cluster: the role of the API and the workers. In a cluster that is there
# already: alter role vigil_app login password '...'.
set -eu
psql --set=ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --set=password="$POSTGRES_APP_PASSWORD" <<'SQL'
create role vigil_app login password :'password' in role pg_read_all_stats;
SQL
