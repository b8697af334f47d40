#!/bin/sh
# Run once by the image's entry point, on an empty data folder: a database and its owner for the ledger and for MLflow.
# psql reads each password from its file itself, so that none stands on a command line or in an environment.
set -eu

make_database() { # name of database and owner, file of the password
    psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
        --set name="$1" --set password_file="$2" <<'SQL'
\set password `cat :password_file`
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
}

make_database trialwright /run/secrets/ledger_password
make_database mlflow /run/secrets/mlflow_database_password
