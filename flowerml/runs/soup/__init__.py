"""Averages of the weights of finished runs: what may be averaged, a greedy soup, and one as a campaign's final run."""
