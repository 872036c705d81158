"""A command that runs out of memory ends with one line, as for any other error."""

import importlib

import pytest
import torch

from flowerml.cli.main import command_module, main


def python_allocation():
    return bytearray(2**60)


def torch_allocation():
    return torch.empty(2**50)


@pytest.mark.parametrize("allocate", [python_allocation, torch_allocation])
def test_memory_that_runs_out_is_one_line(allocate, monkeypatch, capsys):
    command = importlib.import_module(command_module("predict"))
    monkeypatch.setattr(command, "run", lambda argv: allocate())
    assert main(["predict"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: memory ran out (")
    assert "a smaller --batch-size" in line


def test_another_runtime_error_is_not_taken_for_memory(monkeypatch):
    command = importlib.import_module(command_module("predict"))
    monkeypatch.setattr(command, "run", lambda argv: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match=r"same number of elements|inconsistent"):
        main(["predict"])
