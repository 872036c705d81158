"""Spatial relations between two boxed objects: records, annotation readers, split by image, box features, checks."""
