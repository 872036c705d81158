"""Tests of the length of a run."""
