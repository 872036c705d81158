"""Connection to the tracking store, and its errors as one line for the user."""
