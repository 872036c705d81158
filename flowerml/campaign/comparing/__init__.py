"""Two campaigns side by side: what each came to, how far they differ on the same examples, and what was predicted of the second."""
