"""Worker processes of a data loader: their signals, how they hand batches over, and what to say when one dies."""
