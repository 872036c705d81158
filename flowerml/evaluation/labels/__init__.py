"""Which labels and pictures to look at, from out-of-sample predictions."""
