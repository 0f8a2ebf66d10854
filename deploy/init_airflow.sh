#!/bin/bash
# Bring Airflow's metadata database up to date and make the first login. Can be repeated: a login that exists is kept.
set -euo pipefail
airflow db migrate
airflow users create --role Admin --username admin --password "$AIRFLOW_ADMIN_PASSWORD" \
    --firstname Customer --lastname Analytics --email admin@localhost
