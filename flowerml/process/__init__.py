"""This process as the system sees it: its environment variables, its end."""
