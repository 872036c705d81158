"""The recipe: optimiser groups, schedule, losses, mixing, averaging, the loop, the checkpoint."""
