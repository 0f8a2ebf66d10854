"""Machine-learning works: one file, one function, one dashboard each."""
