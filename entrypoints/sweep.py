"""`python entrypoints/sweep.py …`: the same as `flowerml sweep …`, from a checkout."""

if __name__ == "__main__":  # its workers import this file again
    import _start

    _start.command("sweep")
