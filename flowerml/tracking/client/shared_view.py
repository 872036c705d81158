"""A shared view of an experiment's runs, as MLflow's pages store them: its columns, its filter and its order.

The state is that of the page's "Share" button (`mlflow.sharedViewState.KEY`, a tag of the experiment), which reads it
as plain JSON too. Values that do not matter here are the page's defaults.
"""

import json

from flowerml.tracking.client.runs import KIND, PREFIX

KEY = "flowerml"
TAG = f"mlflow.sharedViewState.{KEY}"
_METRICS = ("best_val_accuracy", "best_val_macro_f1", "best_val_mean_recall", "test_accuracy", "images_per_second")
_TAGS = ("phase", "plan_run", "seed", "model")


def best_first() -> str:
    """The value of `TAG`: training runs, the best first, with what they are compared by."""
    columns = [
        "attributes.`Duration`",
        *(f"metrics.`{name}`" for name in _METRICS),
        *(f"tags.`{PREFIX}{name}`" for name in _TAGS),
    ]
    return json.dumps(
        {
            "searchFilter": f"tags.`{KIND}` = 'train'",
            "orderByKey": f"metrics.`{_METRICS[0]}`",
            "orderByAsc": False,
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "datasetsFilter": [],
            "modelVersionFilter": "All Runs",
            "selectedColumns": columns,
            "columnOrder": [],
            "columnWidths": {},
            "runsExpanded": {},
            "runsPinned": [],
            "runsHidden": [],
            "runsVisibilityMap": {},
            "runsHiddenMode": "FIRST_10_RUNS",
            "viewMaximized": False,
            "runListHidden": False,
            "isAccordionReordered": False,
            "useGroupedValuesInCharts": True,
            "hideEmptyCharts": True,
            "groupBy": None,
            "groupsExpanded": {},
            "autoRefreshEnabled": True,
            "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
        }
    )
