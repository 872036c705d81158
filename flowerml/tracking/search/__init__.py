"""Queries to the tracking server; results are plain records without MLflow types."""
