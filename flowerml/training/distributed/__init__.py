"""Several processes that train one run: the group, and torchrun's place of each."""
