"""What is measured of relations between two boxes: baselines, consistency, operating points."""
