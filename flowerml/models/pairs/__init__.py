"""Classifiers of the relation between two boxed objects of one image, from pixels or from boxes alone."""
