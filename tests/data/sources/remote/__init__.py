"""Tests of flowerml.data.sources.remote."""
