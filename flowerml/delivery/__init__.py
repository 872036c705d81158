"""What a grader gets: weights, the one file that loads them, a manifest; written, then checked as a stranger would use
them.
"""
