"""A path that is too long for the system is refused in one line by every command, whichever flag names it."""

from importlib import import_module

import pytest

from flowerml.cli.main import COMMANDS, command_module, run_command
from tests.cli.bad_input import rows as bad

# Each command as it would run but for the long name, which is given after these words or in the place of `{}`.
WORDS = {
    "train": ("train",),
    "eval": ("eval --checkpoint model.pth",),
    "campaign": ("campaign --plan demo --train-dir flowers",),
    "compare": ("compare --plan demo --baseline demo",),
    "sweep": ("sweep --train-dir flowers",),
    "combine": ("combine run", "combine {}"),
    "robustness": ("robustness model.pth --train-dir flowers", "robustness {}"),
    "export": ("export --checkpoint model.pth",),
    "predict": ("predict flowers --model model.pth", "predict {} --model model.pth"),
    "explain": ("explain model.pth flowers", "explain model.pth {} --output-dir out", "explain {} p --output-dir out"),
    "app": ("app", "app {}"),
    "ui": ("ui",),
    "serve": ("serve --login --store sqlite:///mlflow.db",),
    "backup": ("backup --output b.tar --store sqlite:///mlflow.db --artifacts .",),
    "restore": ("restore --from b.tar --store sqlite:///new.db --artifacts art",),
    "sync": ("sync", "sync {}"),
    "reap": ("reap",),
    "dataset": ("dataset check --train-dir flowers", "dataset next --checkpoint model.pth --photos flowers"),
    "select": (),  # it takes no path
}
# Of the settings, those that name a path that is used. A sweep's trials have the same, as a training of their own.
SETTINGS = {
    "train": ("--train-dir", "--test-dir", "--output-dir", "--weights"),
    "sweep": ("--train-dir", "--runs-root"),
}


def lines():
    """Every command line with a long path in it."""
    assert WORDS.keys() == COMMANDS.keys()
    for command, (plain, *placed) in ((command, given) for command, given in WORDS.items() if given):
        yield from (line.format(bad.LONG) for line in placed if "{}" in line)
        for words in [plain, *(line for line in placed if "{}" not in line)]:
            for action in import_module(command_module(command)).make_parser()._actions:
                flag = action.option_strings[-1] if action.option_strings else ""
                if flag and (action.metavar in ("PATH", "FILE") or flag in SETTINGS.get(command, ())):
                    yield f"{words} {flag} {bad.LONG}"


@pytest.mark.parametrize("line", [pytest.param(line, id=line.replace(bad.LONG, "LONG")) for line in lines()])
def test_a_name_too_long_is_one_line_and_leaves_nothing_open(line, place, capfd, monkeypatch):
    place.checkpoint()
    before = bad.results(place.root)
    capfd.readouterr()
    with bad.guarded():
        code = run_command(*bad.command_of(line))
    said = capfd.readouterr()
    assert code == 2
    assert said.out == ""
    (error,) = [text for text in said.err.splitlines() if text.startswith("error: ")]
    assert error == said.err.splitlines()[-1]
    bad.assert_nothing_open(place.root, before, failed=False)
