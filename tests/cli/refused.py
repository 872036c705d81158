"""A command that is refused: one line on stderr, exit code 2, no output folder."""


def assert_refused(call, words, line, tmp_path, monkeypatch, capsys):
    """In a folder with `full/x`, an empty file; `call` runs the command with words, `out` must not be made."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    assert call(*words.split()) == 2
    assert capsys.readouterr() == ("", f"error: {line}\n")
    assert not (tmp_path / "out").exists()
