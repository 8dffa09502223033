"""Rows of the declared tables as Parquet objects, and back."""
