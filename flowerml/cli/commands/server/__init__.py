"""Commands about the tracking server and its data."""
