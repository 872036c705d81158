"""Pretrained weights: what a file is, the state dict in it, and its way into a backbone."""
