"""Executors: run the jobs of a campaign in processes of this machine or of a Ray cluster."""
