"""Downloads: HTTP with resume, safe unpacking, the public flower photos."""
