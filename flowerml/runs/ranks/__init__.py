"""A training in several processes: rank 0, which owns the run, and the replicas that train with it."""
