"""`flowerml select` on a real MLflow store: the rule's table worked out by hand, the run it leaves, what it prints,
what it refuses.
"""

import csv
import io
import json
import math
import shutil

import pytest
from mlflow.tracking import MlflowClient

from flowerml.cli.commands.experiments import select
from flowerml.errors import RunFailed, UserError
from tests.tracking.made_runs import RunFactory
from tests.tracking.opened_runs import open_run

NAMED = ("--family", "cnn", "--split-digest", "555")

# Hits of 100 with seeds 11, 23, 47; the ids are against the order, so that they decide nothing unasked.
ELIGIBLE = [
    # config, hits, macro-F1, place in the plan; the level by which it stands before the next
    ("i-accuracy", (95, 90, 90), 0.40, 9, "mean accuracy"),  # 275 against 274, though all else is worse
    ("h-macro-f1", (90, 92, 92), 0.60, 8, "mean macro-F1"),  # 274, and 0.6 against 0.5
    ("g-variance", (91, 91, 92), 0.50, 7, "variance between seeds"),  # 274; squares about 91.33 are 0.67, below 2.67
    ("f-plan-2", (90, 92, 92), 0.50, 2, "order of the plan"),  # 274, 2.67; 2 before 6
    ("e-plan-6", (92, 90, 92), 0.50, 6, "order of the plan"),  # a place in the plan before none
    ("c-no-plan", (92, 92, 90), 0.50, None, "configuration id"),  # c before d
    ("d-no-plan", (92, 90, 92), 0.50, None, "mean accuracy"),  # 274 against 273
    ("a-last", (91, 91, 91), 0.90, 1, None),
]


def put_everything(made: RunFactory) -> dict[str, str]:
    """Eligible configurations spread over experiments, one of each kind that is not, and what must not be seen. Ids of
    some runs.
    """
    for place, (config, hits, f1, order, _) in enumerate(ELIGIBLE):
        where = ("Default", "flowers", "spring")[place % 3]
        made.seeds(config, *hits, f1=f1, plan_order=None if order is None else str(order), experiment=where)
    ids = {}
    ids["failed"] = made.seeds("failed", 99, 99)[0] and made.put("failed", 47, None, status="FAILED", f1=None)
    ids["running"] = made.seeds("running", 99, 99)[0] and made.put("running", 47, 99, status="RUNNING")
    ids["killed"] = made.seeds("killed", 99, 99)[0] and made.put("killed", 47, 99, status="KILLED")
    ids["nan"] = made.seeds("nan", 99, 99)[0] and made.put("nan", 47, math.nan)
    ids["no f1"] = made.seeds("no f1", 99, 99)[0] and made.put("no f1", 47, 99, f1=None)
    made.seeds("lacks one", 99, 99)
    made.seeds("six classes", 99, 99, 99, classes="a,b,c,d,e,f")
    finished = made.seeds("spoilt", 99, 99, 99)[2]
    ids["spoilt"], ids["spoilt before"] = made.put("spoilt", 47, None, status="FAILED", f1=None), finished
    # of one configuration and seed: the newest counts. Here the older ones are better, newer, failed or deleted
    ids["older"] = made.put("a-last", 47, 99)
    ids["newer"] = made.put("a-last", 47, 91, f1=0.9)
    made.client.delete_run(made.put("i-accuracy", 11, None, status="FAILED"))
    for kind in ("smoke", "final", "trial", "eval", "select"):
        made.seeds(kind, 100, 100, 100, kind=kind)
    made.seeds("other-family", 100, 100, 100, family="vit")
    made.seeds("other-split", 100, 100, 100, split_digest="6" * 64)
    made.seeds("other-data", 100, 100, 100, data_digest="e" * 64, split_digest="7" * 64)
    made.client.create_run("0", run_name="somebody else's")
    return ids


@pytest.fixture(scope="module")
def full_store(empty_store, tmp_path_factory):
    """Everything, put once: (the store's file, ids of some runs)."""
    folder = tmp_path_factory.mktemp("full")
    shutil.copy(empty_store, folder / "mlflow.db")
    return folder / "mlflow.db", put_everything(RunFactory(folder))


@pytest.fixture
def everything(full_store, tmp_path):
    """The test's own store has everything in it. Ids of some runs."""
    shutil.copy(full_store[0], tmp_path / "mlflow.db")
    return full_store[1]


def select_json(capsys, *words: str) -> dict:
    assert select.run([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


class TestTheRule:
    @pytest.fixture
    def decision(self, everything, capsys):
        return everything, select_json(capsys, *NAMED, "--no-record")

    def test_each_level_decides_where_those_above_are_equal(self, decision):
        _, found = decision
        assert [(one["config_id"], one["ahead_by"]) for one in found["ranking"]] == [
            (config, level) for config, *_, level in ELIGIBLE
        ]
        assert [one["hits"] for one in found["ranking"]] == [275, *[274] * 6, 273]
        assert found["winner"] == "i-accuracy"
        first = found["ranking"][0]
        assert first["accuracy"] == pytest.approx(
            {"mean": 2.75 / 3, "standard_deviation": math.sqrt(25 / 3) / 100, "n": 3}
        )
        assert first["macro_f1"] == pytest.approx({"mean": 0.4, "standard_deviation": 0.0, "n": 3})
        assert (found["chosen_run"]["run_name"], found["chosen_run"]["hits"]) == ("i-accuracy-s11", 95)

    def test_each_reason_against_a_configuration(self, decision):
        ids, found = decision
        reasons = {one["config_id"]: "; ".join(one["reasons"]) for one in found["not_eligible"]}

        def of(name: str, config: str) -> str:
            return f"seed 47: run {config}-s47 ({ids[name][:8]})"

        assert reasons == {
            "failed": f"{of('failed', 'failed')} is FAILED",
            "running": f"{of('running', 'running')} is RUNNING",
            "killed": f"{of('killed', 'killed')} is KILLED",
            "nan": f"{of('nan', 'nan')} has best_val_accuracy nan",
            "no f1": f"{of('no f1', 'no f1')} has no best_val_macro_f1",
            "lacks one": "lacks seed 47",
            "six classes": "has 6 classes, not 5",
            "spoilt": (
                f"{of('spoilt', 'spoilt')} is FAILED, and is newer than the FINISHED spoilt-s47"
                f" ({ids['spoilt before'][:8]}): repeat or delete it"
            ),
        }

    def test_of_two_finished_runs_of_a_seed_the_newest_counts_and_it_is_said(self, decision):
        ids, found = decision
        counted = [run["run_id"] for run in found["ranking"][-1]["runs"]]
        assert ids["newer"] in counted
        assert ids["older"] not in counted
        said = [remark for remark in found["remarks"] if "two FINISHED runs" in remark]
        assert any(
            f"the newest, a-last-s47 ({ids['newer'][:8]}), counts, not a-last-s47 ({ids['older'][:8]})" in remark
            for remark in said
        )

    def test_trials_are_ranked_on_request(self, everything, capsys):
        assert select_json(capsys, *NAMED, "--no-record", "--include", "trial")["winner"] == "trial"


class TestTheRun:
    def test_holds_table_figure_and_words(self, everything, capsys, tmp_path):
        found = select_json(capsys, *NAMED, "--experiment", "flowers")
        client = MlflowClient()
        run = client.get_run(found["run_id"])
        assert (run.info.status, client.get_experiment(run.info.experiment_id).name) == ("FINISHED", "flowers")
        assert run.info.run_name == "select cnn, split 55555555"
        tags = {
            name.removeprefix("flowerml."): text for name, text in run.data.tags.items() if name.startswith("flowerml.")
        }
        assert (tags["kind"], tags["family"], tags["winner"], tags["decision"]) == (
            "select",
            "cnn",
            "i-accuracy",
            found["key"],
        )
        assert (tags["data_digest"], tags["split_digest"]) == ("d" * 64, "5" * 64)
        assert (run.data.params["seeds"], run.data.params["kinds"]) == ("11,23,47", "train")
        assert run.data.metrics["mean_val_accuracy"] == pytest.approx(2.75 / 3)
        assert (run.data.metrics["eligible"], run.data.metrics["not_eligible"]) == (8, 8)
        assert found["words"] in run.data.tags["mlflow.note.content"]
        assert [file.path for file in client.list_artifacts(found["run_id"])] == [
            "decision.json",
            "decision.md",
            "seeds.png",
            "table.csv",
        ]

        def text(name: str) -> str:
            path = client.download_artifacts(found["run_id"], name, str(tmp_path))
            with open(path, encoding="utf-8", newline="") as handle:  # noqa: PTH123
                return handle.read()

        assert json.loads(text("decision.json")) == {
            name: value for name, value in found.items() if name not in ("run_id", "registered")
        }
        rows = list(csv.DictReader(io.StringIO(text("table.csv"))))
        assert [row["config_id"] for row in rows] == [config for config, *_ in ELIGIBLE]
        assert (rows[0]["accuracy_s11"], rows[0]["hits"], rows[0]["ahead_by"]) == ("0.95", "275", "mean accuracy")
        assert rows[0]["run_s11"] == found["chosen_run"]["run_id"]
        page = text("decision.md")
        assert found["words"] in page
        assert "| 1 | i-accura | net | 3 | 0.9167 | 0.0289 |" in page
        assert "- net lacks on: lacks seed 47" in page

    def test_is_the_one_that_mlflow_run_has_opened(self, made, capsys, monkeypatch):
        """MLflow has logged `family` there already, and put it into Default."""
        made.seeds("a", 90, 91, 92)
        opened = open_run(made.client, monkeypatch, {"family": "cnn"})
        assert select_json(capsys, "--family", "cnn")["run_id"] == opened
        run = made.client.get_run(opened)
        assert (run.info.status, run.data.tags["flowerml.kind"], run.data.params["family"]) == (
            "FINISHED",
            "select",
            "cnn",
        )

    def test_is_not_there_with_no_record(self, made, capsys):
        made.seeds("a", 90, 91, 92)
        assert select_json(capsys, "--family", "cnn", "--no-record")["run_id"] is None
        assert made.client.search_runs([made.experiment("flowers")], "tags.`flowerml.kind` = 'select'") == []

    def test_without_anything_eligible_fails_and_says_why(self, made, capsys):
        made.put("a", 11)
        with pytest.raises(RunFailed, match="No configuration is eligible"):
            select.run(["--family", "cnn", "--json"])
        found = json.loads(capsys.readouterr().out)
        assert found["not_eligible"][0]["reasons"] == ["lacks seed 23, 47"]
        (run,) = made.client.search_runs([made.experiment("flowers")], "tags.`flowerml.kind` = 'select'")
        assert run.info.status == "FAILED"
        assert "No configuration is eligible" in run.data.tags["flowerml.reason"]
        assert [file.path for file in made.client.list_artifacts(run.info.run_id)] == ["decision.json", "decision.md"]


class TestPictures:
    def test_of_the_first_places_give_intervals_and_a_comparison(self, made, capsys, monkeypatch):
        monkeypatch.setattr("flowerml.runs.select.COMPARED", 2)
        for place, config in enumerate("abc"):
            made.seeds(config, 95 - place, 94 - place, 93 - place, predictions=True)
        found = select_json(capsys, "--family", "cnn", "--no-record")
        over = [one["interval_95"] and one["interval_95"]["over"] for one in found["ranking"]]
        assert over == ["pictures and seeds", "pictures and seeds", "seeds"]
        assert found["comparison"]["separated"] is False
        assert "over pictures and seeds, paired): not separated" in found["words"]
        assert [one["p_best"] is None for one in found["ranking"]] == [False, False, True]

    def test_that_are_missing_are_a_remark(self, made, capsys):
        made.seeds("a", 95, 94, 93, predictions=True)
        made.seeds("b", 91, 90, 92)
        found = select_json(capsys, "--family", "cnn", "--no-record")
        (remark,) = found["remarks"]
        assert remark.startswith("3 runs have no per-picture results: no predictions.csv: b-s11")
        assert found["comparison"]["separated"] is None


class TestWhatIsPrinted:
    def test_table_reasons_remarks_words(self, everything, capsys):
        assert select.run([*NAMED, "--no-record"]) == 0
        shown = capsys.readouterr()
        lines = shown.out.splitlines()
        assert lines[0] == "cnn: train, data dddddddd, split 55555555"
        assert any(
            line.split() == ["1", "i-accura", "net", "3", "0.9167", "0.0289", *line.split()[6:]] for line in lines
        )
        assert "not eligible: 8" in lines
        assert "  net lacks on: lacks seed 47" in lines
        assert any(line.startswith("remarks: ") for line in lines)
        assert lines[-1].startswith("All figures are after selection")
        assert any(
            line.startswith("net i-accura is the first of 8 eligible configurations (8 not eligible)") for line in lines
        )
        assert shown.err == ""

    def test_in_french_with_the_same_figures(self, everything, capsys):
        """Reasons and remarks are messages about runs, and JSON is read by programs: both stay English."""
        english, french = [], []
        for shown, words in ((english, []), (french, ["--lang", "fr"])):
            assert select.run([*NAMED, "--no-record", *words]) == 0
            shown += capsys.readouterr().out.splitlines()
        assert french[0] == "cnn\u00a0: train, données dddddddd, split 55555555"
        place, of_english = (
            next(number for number, line in enumerate(lines) if line.split()[:1] == ["1"])
            for lines in (french, english)
        )
        head, first = french[place - 2], french[place]
        assert head.split()[:4] == ["config", "modèle", "n", "moyenne"]
        assert first.split() == english[of_english].split()
        assert head.index("moyenne") + len("moyenne") == first.index("0.9167") + len("0.9167"), "numbers to the right"
        assert "non éligibles\u00a0: 8" in french
        assert "  net lacks on: lacks seed 47" in french
        assert french[-1].startswith("Tous les chiffres sont mesurés après sélection")
        assert select_json(capsys, *NAMED, "--no-record", "--lang", "fr")["words"].startswith(
            "net i-accura is the first"
        )

    def test_a_name_with_brackets_is_no_markup(self, made, capsys):
        made.seeds("a", 90, 91, 92, model="timm:[bold]net[/bold]")
        select.run(["--family", "cnn", "--no-record"])
        assert "timm:[bold]net[/bold]" in capsys.readouterr().out

    def test_where_the_table_is_too_wide_nothing_is_cut_off(self, made, capsys):
        made.seeds("a" * 64, 90, 91, 93, model="m" * 100)
        select.run(["--family", "cnn", "--no-record"])
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        place = next(number for number, line in enumerate(lines) if line[:1] == ["1"])
        assert lines[place] == ["1", "m" * 100, "0.9133", "0.8754–0.9513*", "0.9000"]
        assert lines[place + 1 : place + 3] == [["aaaaaaaa", "sd", "0.0153", "0.9100"], ["F1", "0.5000", "0.9300"]]

    def test_much_is_shortened_and_says_so(self, made, capsys, monkeypatch):
        monkeypatch.setattr("flowerml.cli.select_table._ROWS", 2)
        monkeypatch.setattr("flowerml.cli.select_table._LINES", 1)
        for config in "abc":
            made.seeds(config, 90, 91, 92)
            made.put(f"{config}x")
        select.run(["--family", "cnn", "--no-record"])
        shown = capsys.readouterr().out
        assert "  and 1 more (the run's table.csv has all)" in shown
        assert "not eligible: 3\n  net ax: lacks seed 23, 47\n  and 2 more (the run's decision.md has all)" in shown


class TestRegistering:
    @pytest.fixture
    def registered(self, monkeypatch):
        """The registry's own tests are tests/tracking/registry/: here, what it is called with."""
        calls = []

        class Answer:
            summary = "registered as flowers-cnn, version 1."

        def register(decision, family, **how):
            calls.append((decision.winner.configuration.config_id, family, how))
            if how.get("force"):
                raise UserError("the disk is full")
            return Answer

        monkeypatch.setattr("flowerml.tracking.registry.register.register", register)
        return calls

    @pytest.mark.parametrize("words", [["--register"], ["--register", "true"], ["--no-register", "--register"]])
    def test_is_told_of_the_decision_and_its_run(self, made, capsys, registered, words):
        made.seeds("a", 90, 91, 92)
        found = select_json(capsys, "--family", "cnn", *words)
        assert registered == [("a", "cnn", {"selection_id": found["run_id"], "retrained_id": None, "force": False})]
        assert found["registered"] == "registered as flowers-cnn, version 1."
        run = MlflowClient().get_run(found["run_id"])
        assert run.data.tags["mlflow.note.content"].startswith("**Registered as flowers-cnn, version 1.**")

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "words", [[], ["--no-register"], ["--register", "--register", "false"], ["--register", "--no-register"]]
    )
    def test_is_not_done_unasked(self, made, capsys, registered, words):
        made.seeds("a", 90, 91, 92)
        assert select_json(capsys, "--family", "cnn", *words)["registered"] is None
        assert registered == []

    def test_that_fails_fails_the_run(self, made, registered):
        made.seeds("a", 90, 91, 92)
        with pytest.raises(RunFailed, match="the disk is full"):
            select.run(["--family", "cnn", "--register", "--force"])
        (run,) = made.client.search_runs([made.experiment("flowers")], "tags.`flowerml.kind` = 'select'")
        assert (run.info.status, run.data.tags["flowerml.reason"]) == ("FAILED", "the disk is full")

    def test_a_family_of_another_task_is_ranked_as_any_other(self, made):
        made.seeds("a", 90, 91, 92, family="relation")
        assert select.run(["--family", "relation", "--no-record"]) == 0


class TestByMeanRecall:
    def test_it_ranks_and_what_lacks_it_says_so(self, made, capsys):
        made.seeds("frequent", 95, 95, 95, recall=0.6)
        made.seeds("rare", 80, 80, 80, recall=0.7)
        made.seeds("earlier", 99, 99, 99)
        select.run(["--family", "cnn", "--by", "val_mean_recall", "--no-record", "--json"])
        found = json.loads(capsys.readouterr().out)
        assert found["rule"] == "val_mean_recall"
        assert [(one["config_id"], one["mean_recall"]["mean"]) for one in found["ranking"]] == [
            ("rare", pytest.approx(0.7)),
            ("frequent", pytest.approx(0.6)),
        ]
        assert found["comparison"]["decided_by"] == "mean recall"
        assert "the mean recall decided (0.7000 against 0.6000)" in found["words"]
        (left_out,) = found["not_eligible"]
        assert (left_out["config_id"], "has no best_val_mean_recall" in left_out["reasons"][0]) == ("earlier", True)

    def test_its_table_has_it(self, made, capsys, tmp_path):
        made.seeds("rare", 80, 80, 80, recall=0.7)
        select.run(["--family", "cnn", "--by", "val_mean_recall"])
        shown = capsys.readouterr().out
        assert "recall" in next(line for line in shown.splitlines() if "macro-F1" in line)
        (selected,) = made.client.search_runs([made.experiment("flowers")], "tags.`flowerml.kind` = 'select'")
        table = list(csv.DictReader(io.StringIO(mlflow_text(made, selected, "table.csv", tmp_path))))
        assert float(table[0]["mean_val_mean_recall"]) == pytest.approx(0.7)


def mlflow_text(made, run, name, folder):
    return (folder / made.client.download_artifacts(run.info.run_id, name, str(folder))).read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: --family"),
        (["--family", "cnn", "--by", "val_loss"], "invalid choice: 'val_loss'"),
        (["--family", "cn"], "invalid choice: 'cn'"),
        (["--family", "cnn", "--seeds", "11,x"], "--seeds is '11,x'. Allowed: whole numbers"),
        (["--family", "cnn", "--seeds", "11,11"], "none twice"),
        (["--family", "cnn", "--seeds", ""], "--seeds is ''"),
        (
            ["--family", "cnn", "--split-digest", "xyz"],
            "--split-digest is 'xyz'. Allowed: the digest's first characters",
        ),
        (["--family", "cnn", "--data-digest", "%"], "--data-digest is '%'"),
        (["--family", "cnn", "--campaign", "a'b\"c"], "--campaign is"),
        (["--family", "cnn", "--include", "final"], "invalid choice: 'final'"),
        (["--family", "cnn", "--force"], "give it with --register"),
        (["--family", "cnn", "--register", "--no-record"], "exclude each other"),
        (["--family", "cnn", "--experiment", "x", "--no-record"], "exclude each other"),
        (["--family", "cnn"], "no run of kind train of family cnn to choose from"),
        (["--family", "cnn", "--campaign", "spring"], "no run of kind train of family cnn of campaign spring"),
    ],
)
def test_a_mistake_is_a_line_and_leaves_no_run(made, words, message):
    with pytest.raises(UserError) as caught:
        select.run(words)
    assert message in str(caught.value)
    assert caught.value.exit_code == 2
    assert len(str(caught.value).splitlines()) == 1
    assert made.client.search_runs([one.experiment_id for one in made.client.search_experiments()]) == []


def test_several_digests_are_listed(everything):
    with pytest.raises(UserError) as caught:
        select.run(["--family", "cnn"])
    assert "the runs are of 3 data and split digests" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 4


def test_the_experiment_is_that_of_the_environment_and_a_flag_wins(made, capsys, monkeypatch):
    made.seeds("a", 90, 91, 92)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "of the team")
    for words, expected in (((), "of the team"), (("--experiment", "mine"), "mine")):
        run_id = select_json(capsys, "--family", "cnn", *words)["run_id"]
        experiment = made.client.get_run(run_id).info.experiment_id
        assert made.client.get_experiment(experiment).name == expected
