"""Bring the dashboards to Kibana when the stack starts, so that they are there before the first run. Can be repeated.

Run by docker-compose.yaml once Kibana is healthy, with the settings of Airflow's services. It is what the task
`import_dashboards` does after each run.
"""

import sys

from include.dashboards.kibana_import import KibanaProblem
from include.pipeline.kibana import bring_dashboards


def main() -> int:
    try:
        done = bring_dashboards()
    except KibanaProblem as problem:
        print(problem, file=sys.stderr)
        return 1
    print(f"Kibana: {done['objects']} objects are in the space `{done['space']}`, {done['replaced']} of them replaced.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
