"""`python entrypoints/selector.py …`: the same as `flowerml select …`, from a checkout.

Not `select.py`: a file of that name here would stand in for the standard library's `select`.
"""

import _start

_start.command("select")
