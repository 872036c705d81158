"""Tests of the step: losses, mixing, schedules, averages of weights, low-rank updates."""
