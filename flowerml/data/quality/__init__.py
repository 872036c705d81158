"""Data quality: near-duplicates, conflicting labels, a summary of a folder."""
