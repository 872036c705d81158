"""Compare two finished campaigns: paired differences, predicted ranges, one page."""
