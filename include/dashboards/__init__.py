"""From panel declarations to what a person looks at."""
