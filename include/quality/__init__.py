"""Which rows are good: rules, quarantine, the Great Expectations gate."""
