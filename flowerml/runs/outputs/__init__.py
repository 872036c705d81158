"""What a run leaves behind: artifacts, tags, description, console header."""
