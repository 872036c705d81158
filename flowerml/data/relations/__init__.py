"""Spatial relations between two boxed objects: records, readers, split, box features, checks."""
