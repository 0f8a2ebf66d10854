"""`make bench`: how fast this is, beside its peers and its limits."""
