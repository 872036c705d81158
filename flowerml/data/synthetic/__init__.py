"""Generated data sets: flowers and scenes of object pairs, drawn with Pillow."""
