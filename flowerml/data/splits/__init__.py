"""Which pictures train and which judge: splits, folds, halves."""
