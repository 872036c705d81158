"""What `export` writes: weights, `flowers_classifier.py` and a manifest, verified in a fresh process."""
