"""Data sets: find, decode, check, split, augment and load pictures."""
