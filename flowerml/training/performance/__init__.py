"""What limits the speed of a training: arithmetic, and waiting for data."""
