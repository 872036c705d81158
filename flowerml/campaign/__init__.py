"""A plan of runs in phases, carried out as one command that can be killed at any moment."""
