"""Pictures at an address: brought into the cache folder, file by file, and read there."""
