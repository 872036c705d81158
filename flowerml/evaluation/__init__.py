"""Prediction over a data set, and the mathematics of its evaluation: metrics, intervals, baselines, label errors."""
