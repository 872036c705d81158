"""A run that is started over has nothing in its folder of the try before it."""

from tests.runs.interrupted_runs import at_the_end, epoch


def test_started_over_with_resume_never_the_files_of_the_earlier_try_go(begin, tmp_path):
    """That one had come to its figures, this one to its first epoch."""
    folder = tmp_path / "out"
    begin(at=at_the_end)
    assert (folder / "predictions.csv").exists()
    assert len(list((folder / "images").glob("augmented+step+2*.png"))) == 1
    begin(at=epoch(1), resume="never")
    assert not (folder / "predictions.csv").exists()
    assert not list((folder / "images").glob("augmented+step+2*"))
    assert (folder / "settings.json").exists()
    assert len((folder / "history.csv").read_text().splitlines()) == 2
