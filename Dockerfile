# This project's image: Airflow, its providers and the pipeline, from the pinned requirements.
FROM python:3.11-slim-bookworm AS packages
RUN pip install --no-cache-dir uv==0.13.9 && python -m venv /opt/venv
COPY deploy/requirements.lock /tmp/requirements.lock
# Compiled here: who runs the image may not write into /opt/venv, and would compile every module at every start.
RUN uv pip install --no-cache --compile-bytecode --python /opt/venv/bin/python -r /tmp/requirements.lock

FROM python:3.11-slim-bookworm
RUN useradd --uid 50000 --gid 0 --create-home airflow \
    && mkdir -p /opt/airflow /var/lib/customer-analytics \
    && chown -R airflow:0 /opt/airflow /var/lib/customer-analytics
COPY --from=packages /opt/venv /opt/venv
WORKDIR /opt/customer-analytics
COPY configs.py ./
COPY dags dags
COPY plugins plugins
COPY include include
COPY great_expectations great_expectations
COPY deploy/init_airflow.sh deploy/secure_elasticsearch.py deploy/import_dashboards.py deploy/celery_config.py deploy/
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/customer-analytics \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    AIRFLOW_HOME=/opt/airflow \
    AIRFLOW__CORE__LOAD_EXAMPLES=False \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/customer-analytics/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/customer-analytics/plugins \
    AIRFLOW__LOGGING__BASE_LOG_FOLDER=/var/lib/customer-analytics/logs \
    GX_ANALYTICS_ENABLED=False \
    SOURCES_FILE=/data/sources.yaml \
    VAR_DIR=/var/lib/customer-analytics
USER 50000
VOLUME /var/lib/customer-analytics
EXPOSE 8080
CMD ["airflow", "version"]
