"""Exploratory analyses: one file, one function, one dashboard each."""
