"""Ranking and selection as plain functions on plain records: no I/O, no MLflow."""
