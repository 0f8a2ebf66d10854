"""The Parquet snapshot that every analysis reads."""
