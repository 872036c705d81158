"""Runs to select from, by which the rule can be worked out by hand: eligible ones, and one of each kind that is not."""

import math

from tests.tracking.made_runs import RunFactory

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
