"""A simulated shop whose truth is known: `truth.json` beside the data says what was planted (docs/demo-data.md)."""
