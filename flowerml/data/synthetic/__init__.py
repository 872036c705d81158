"""Generated pictures: flowers and scenes drawn with Pillow."""
