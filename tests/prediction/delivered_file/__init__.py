"""Tests of the delivered single file and its weights."""
