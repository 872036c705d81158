"""A page to try models with pictures of one's own: classifiers, and relations of two boxes. On this machine alone."""
