"""Checkpoints: the file formats, the store of a run's last few, and the thread that writes them."""
