"""Data quality: near-duplicates, label conflicts, a summary of a folder."""
