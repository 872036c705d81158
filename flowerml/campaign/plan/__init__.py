"""Plan files: parsed and checked into plain records."""
