"""Search for good settings: trials of one Optuna study, each a run of its own."""
