"""What a row is: the columns of each source, the rules a row must keep, the index mappings, the report fields."""
