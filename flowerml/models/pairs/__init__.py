"""Classifiers of two boxed objects in one picture."""
