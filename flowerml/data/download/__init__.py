"""Downloads: resumable HTTP, safe unpacking, the public flower photos."""
