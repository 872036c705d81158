"""Tests of what limits the speed of a training."""
