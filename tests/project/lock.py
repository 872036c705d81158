"""requirements.lock as the tests read it."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
_found = importlib.util.spec_from_file_location("lock_tool", ROOT / "tools" / "lock.py")
TOOL = importlib.util.module_from_spec(_found)
_found.loader.exec_module(TOOL)
PINS = TOOL.pins(LOCK)  # name==version, with a marker where a pin is not for every Python and platform
VERSIONS = dict(pin.split(" ;")[0].split("==") for pin in PINS)
