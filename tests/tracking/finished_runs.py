"""Finished runs in a real MLflow store without training: random weights of a small model, given metrics, real files."""

import csv
from dataclasses import replace

import numpy as np
import torch
from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.tracking import MlflowClient

from flowerml.data.relations.records import RELATIONS
from flowerml.models import build
from flowerml.models.pairs.classifier import build_pair_classifier
from flowerml.prediction import as_predictor
from flowerml.selection.records import CandidateRun, Scope
from flowerml.settings import find_model, resolve
from flowerml.training.checkpoints.checkpoint import Checkpoint, save_checkpoint
from tests.selection.samples import decide

CLASSES = ("daisy", "dandelion", "rose", "sunflower", "tulip")
MODELS = {"cnn": ("convnextv2_atto", 32), "vit": ("clip_vits32", 64), "relation": ("relation:timm:test_resnet", 32)}
TOTAL = 40  # validation pictures
DATA, SPLIT = "d" * 64, "5" * 64
LOCAL = "/a/path/of/the/machine/that/trained"


def trained(family, accuracy=0.5):
    """A checkpoint as a run writes it: with a split, and with local paths in its settings."""
    name, size = MODELS[family]
    torch.manual_seed(5)
    spec = find_model(name)
    if family == "relation":
        built = build_pair_classifier(spec, len(RELATIONS), 8, img_size=size, embedding=128, temperature=0.07)
    else:
        built = build(spec, len(CLASSES), img_size=size)
        torch.nn.init.normal_(built.model.head.weight, std=1.0)  # so that pictures are told apart
    classes = RELATIONS if family == "relation" else CLASSES
    paths = {"train_dir": f"{LOCAL}/data", "output_dir": f"{LOCAL}/runs/x", "weights": f"{LOCAL}/start.safetensors"}
    settings, _ = resolve({"model": name, "img_size": size, **paths})
    metrics = {"val_accuracy": accuracy, "val_macro_f1": accuracy, "val_loss": 1.0}
    plain = settings.model_dump(mode="json")
    return Checkpoint(
        built.model.state_dict(), spec, classes, built.description, 3, metrics, plain, {"note": f"{LOCAL}/data"}
    )


class Store:
    """Adds finished runs to the current tracking store; their files are made in `folder`."""

    def __init__(self, folder):
        self.client = MlflowClient()
        self.folder = folder
        self.experiment = self.client.create_experiment("flowers", artifact_location=(folder / "artifacts").as_uri())
        self._checkpoints = {}
        self._clock = 0

    def put(self, family="cnn", *, hits=20, seed=11, config="c" * 64, split=SPLIT, data=DATA, kind="train", files=True):
        """Add a FINISHED run with `hits` of TOTAL correct; returns its candidate record."""
        self._clock += 1
        accuracy = hits / TOTAL
        tags = {
            "flowerml.kind": kind,
            "flowerml.family": family,
            "flowerml.config_id": config,
            "flowerml.seed": str(seed),
            "flowerml.data_digest": data,
            "flowerml.split_digest": split,
            "flowerml.classes": ",".join(CLASSES),
            "flowerml.task": "flowers",
        }
        name = f"{family}-{config[:4]}-s{seed}"
        run_id = self.client.create_run(self.experiment, run_name=name, tags=tags, start_time=self._clock).info.run_id
        for key, value in (("best_val_accuracy", accuracy), ("best_val_macro_f1", accuracy)):
            self.client.log_metric(run_id, key, value)
        dataset = Dataset("data", data[:36], "local", "{}")
        self.client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
        if files:
            self._files(run_id, family, accuracy, hits)
        self.client.set_terminated(run_id, "FINISHED")
        metrics = {"accuracy": accuracy, "macro_f1": accuracy, "hits": hits, "total": TOTAL}
        digests = {"data_digest": data, "split_digest": split}
        run_fields = {
            "run_id": run_id,
            "run_name": name,
            "config_id": config,
            "seed": seed,
            "status": "FINISHED",
            "kind": kind,
        }
        return CandidateRun(
            **run_fields, family=family, classes=5, started=self._clock, model=MODELS[family][0], **digests, **metrics
        )

    def decide(self, family="cnn", hits=20, **changes):
        """A decision for one configuration with seeds 11 and 23."""
        return decide([self.put(family, hits=hits, seed=seed, **changes) for seed in (11, 23)], Scope(seeds=(11, 23)))

    def _files(self, run_id, family, accuracy, hits):
        folder = self.folder / run_id
        folder.mkdir()
        checkpoint = self._checkpoints.setdefault(family, trained(family))
        save_checkpoint(
            folder / "best.pth", replace(checkpoint, metrics={**checkpoint.metrics, "val_accuracy": accuracy})
        )
        size = checkpoint.description.size
        inputs = torch.randn(8, 3, size, size, generator=torch.Generator().manual_seed(1))
        if family != "relation":
            with torch.inference_mode():
                logits = as_predictor(checkpoint, "cpu", "best.pth")(inputs)
            np.savez(
                folder / "probe.npz",
                inputs=inputs.numpy(),
                logits=logits.numpy(),
                ids=np.array([f"p{i}" for i in range(8)]),
            )
        with (folder / "predictions.csv").open("w", newline="") as handle:
            rows = [[f"daisy/{i}.jpg", "daisy", "daisy" if i < hits else "tulip", *[0.2] * 5] for i in range(TOTAL)]
            csv.writer(handle).writerows([["image", "label", "predicted", *(f"p_{name}" for name in CLASSES)], *rows])
        for path in sorted(folder.iterdir()):
            self.client.log_artifact(run_id, str(path))
