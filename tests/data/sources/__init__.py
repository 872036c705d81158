"""Tests of flowerml.data.sources."""
