"""The length of a run in steps: that of `--epochs`, one fitted to `--max-minutes`, or one repeated."""
