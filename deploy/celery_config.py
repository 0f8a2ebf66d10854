"""Celery's settings in the deployed stack: workers import the libraries of the tasks before they fork.

See docs/adr/0005-libraries-before-the-fork.md.
"""

from airflow.providers.celery.executors.default_celery import DEFAULT_CELERY_CONFIG

from include.launch.executor import LIBRARIES

CELERY_CONFIG = {**DEFAULT_CELERY_CONFIG, "imports": LIBRARIES}
