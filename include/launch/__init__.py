"""`make run`: the local stack."""
