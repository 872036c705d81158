"""What a model costs: memory, operations, the smallest batch of a device."""
