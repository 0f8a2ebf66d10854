"""What the DAG's tasks do, one file per step."""
