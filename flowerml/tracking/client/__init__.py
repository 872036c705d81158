"""The connection to the tracking server, and its errors as one line for the user."""
