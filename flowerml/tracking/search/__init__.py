"""Queries to the tracking server, answered as plain records."""
