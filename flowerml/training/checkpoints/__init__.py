"""Checkpoints: the file formats, the store of the last few of a run, and writing beside the training."""
