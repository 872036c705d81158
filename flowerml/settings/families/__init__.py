"""What each family of models has: its catalogue, recipes, probes and search grids."""
