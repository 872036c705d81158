"""The outputs of a sweep: table, figures, description."""
