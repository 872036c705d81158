"""Tests of pages with pictures."""
