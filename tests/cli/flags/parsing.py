"""What the parser of `train` and the settings make of typed words."""

import shlex

from flowerml.settings import resolve
from flowerml.settings.flags import CommandParser, add_settings


def parse(line):
    """What `train` makes of these words: name -> text, only what was typed."""
    parser = CommandParser(prog="flowerml train")
    add_settings(parser)
    return vars(parser.parse(shlex.split(line)))


def settings_of(line):
    return resolve(parse(line))[0]
