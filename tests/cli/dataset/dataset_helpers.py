"""Shared by the tests of `dataset`."""

FLOWERS = ["daisy", "dandelion", "rose", "sunflower", "tulip"]


def files_in(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def one_line(stderr):
    assert stderr.startswith("error: ")
    assert stderr.endswith("\n")
    assert stderr.count("\n") == 1
    return stderr
