"""Choices, as plain functions over plain records: no files, no torch, no MLflow."""
