"""Features of a frozen backbone: kept on disk, and loaded in batches."""
