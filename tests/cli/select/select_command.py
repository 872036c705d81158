"""`flowerml select` with `--json`."""

import json

from flowerml.cli.commands.experiments import select


def select_json(capsys, *words: str) -> dict:
    assert select.run([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)
