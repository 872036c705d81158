"""The campaign engine: execute phases, decide them, publish progress, deliver the final models."""
