"""Reports about the pipeline itself, from the facts that its tasks leave: one file per report name, as an analysis."""
