"""Pictures: found, read safely, grouped, split, augmented, loaded."""
