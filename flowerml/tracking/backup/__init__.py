"""Backups of a tracking store: its database, its artifacts and the accounts of its log-in, each file with a digest."""
