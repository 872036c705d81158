"""Cross-validation: a run for each fold, and the out-of-fold predictions of every picture."""
