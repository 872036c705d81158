"""The life of a run: lease and heartbeat, stop requests, final status, dead runs."""
