"""Ready-made data sets for a first look."""
