"""`python entrypoints/campaign.py …`: the same as `flowerml campaign …`, from a checkout."""

import _start

_start.command("campaign")
