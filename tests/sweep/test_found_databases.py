"""What is found under the name of a study or database and is somebody else's: refused in a line, and left as it is."""

import hashlib
import shutil
import sqlite3
from contextlib import closing

import optuna
import pytest

from flowerml.errors import UserError
from flowerml.settings import Family
from flowerml.sweep.space import Choice, range_dimensions
from flowerml.sweep.study import open_study
from tests.sweep.test_study import ABOUT, OPTIONS

SPACE = range_dimensions(Family.CNN, {})


@pytest.fixture(scope="module")
def optuna_file(tmp_path_factory):
    """A database with Optuna's tables and no study: creating them takes a second."""
    file = tmp_path_factory.mktemp("optuna") / "st.db"
    optuna.storages.RDBStorage(f"sqlite:///{file}").engine.dispose()
    return file


@pytest.fixture
def file(optuna_file, tmp_path):
    return shutil.copy(optuna_file, tmp_path / "st.db")


def refused(file, match, name="mine", **changes):
    """Open a study and be refused in one line; the file is the same to the byte."""
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(UserError, match=match) as caught:
        open_study(f"sqlite:///{file}", name, ABOUT, **{**OPTIONS, "dimensions": SPACE, **changes})
    assert "\n" not in str(caught.value)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == before


class TestStudies:
    def test_with_trials_of_its_own(self, file):
        study = optuna.create_study(storage=f"sqlite:///{file}", study_name="mine", direction="maximize")
        trial = study.ask()
        trial.suggest_categorical("batch_size", [1, 2])
        study.tell(trial, 0.9)
        refused(file, r"study 'mine' in sqlite.* is not flowerml's, and is left as it is \(1 trials\): choose another")

    @pytest.mark.parametrize("directions", [["minimize"], ["maximize", "minimize"]], ids=len)
    def test_with_an_attribute_of_its_own_and_no_trial(self, file, directions):
        study = optuna.create_study(storage=f"sqlite:///{file}", study_name="mine", directions=directions)
        study.set_user_attr("owner", "me")
        refused(file, "is not flowerml's")

    def test_empty_and_unmarked_after_a_moment(self, file, monkeypatch):
        monkeypatch.setattr("flowerml.sweep.study._MARK_WAIT_S", 0.0)
        optuna.create_study(storage=f"sqlite:///{file}", study_name="mine")
        refused(file, r"is not flowerml's, and is left as it is \(0 trials\)")

    def test_marked_but_of_another_direction(self, file):
        open_study(f"sqlite:///{file}", "mine", ABOUT, **OPTIONS)
        refused(file, "of other settings .direction maximize there, minimize here", maximize=False)

    def test_marked_with_a_trial_of_another_space(self, file):
        study = open_study(f"sqlite:///{file}", "mine", ABOUT, **OPTIONS)
        trial = study.ask()
        trial.suggest_float("batch_size", 0, 1)
        study.tell(trial, 0.9)
        refused(file, "of other settings .batch_size of trial 0 is Float", dimensions={"batch_size": Choice((8, 16))})

    def test_of_ours_beside_others_in_one_database(self, file):
        """A team may keep its own studies there: only the name must be free."""
        optuna.create_study(storage=f"sqlite:///{file}", study_name="theirs")
        open_study(f"sqlite:///{file}", "ours", ABOUT, **OPTIONS)
        assert set(optuna.get_all_study_names(f"sqlite:///{file}")) == {"theirs", "ours"}


class TestDatabases:
    def test_of_mlflow(self, empty_store, tmp_path):
        file = shutil.copy(empty_store, tmp_path / "ml.db")
        refused(file, r"is another program's database \(tables .*…\): nothing is written into it")

    def test_of_a_program_with_tables_of_optunas_names(self, tmp_path):
        tables = ("studies", "trials", "version_info")
        with closing(sqlite3.connect(tmp_path / "lab.db")) as database:
            database.executescript(";".join(f"CREATE TABLE {table} (id INTEGER)" for table in tables))
        refused(tmp_path / "lab.db", "is another program's database")

    def test_of_an_older_optuna(self, file):
        with closing(sqlite3.connect(file)) as database, database:
            database.execute("UPDATE alembic_version SET version_num = 'v2.6.0.a'")
            database.execute("DROP TABLE trial_heartbeats")
        refused(file, "no longer compatible with the table schema .* Or name another one")

    @pytest.mark.parametrize("content", [b"just some notes, long enough\n" * 9, b"PK\3\4", b"\0"], ids=repr)
    def test_a_file_that_is_no_database(self, tmp_path, content):
        (tmp_path / "notes.db").write_bytes(content)
        refused(tmp_path / "notes.db", "it is no SQLite database, and is left as it is")

    @pytest.mark.no_store
    @pytest.mark.parametrize(
        ("address", "match"),
        [
            ("sqlite:///{}", "it is a folder. Name a file in it"),
            ("sqlite:///{}/none/st.db", "no such folder"),
            ("sqlite://", "in memory"),
            ("sqlite:///:memory:", "in memory"),
        ],
    )
    def test_an_address_that_leads_to_no_file(self, tmp_path, address, match):
        with pytest.raises(UserError, match=match):
            open_study(address.format(tmp_path), "s", ABOUT, **OPTIONS)
        assert list(tmp_path.iterdir()) == []

    def test_an_empty_file_becomes_the_database(self, tmp_path):
        (tmp_path / "st.db").touch()
        open_study(f"sqlite:///{tmp_path / 'st.db'}", "s", ABOUT, **OPTIONS)
