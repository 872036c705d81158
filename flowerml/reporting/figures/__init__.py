"""Figures as PNG files, drawn with Matplotlib."""
