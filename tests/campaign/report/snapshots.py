"""A sample snapshot for the tests of table and report: runs in every state, one decision, one delivered file."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from flowerml.campaign.report.snapshot import CampaignSnapshot, DecisionSummary, DeliveredFile, PhaseSnapshot, RunRow
from flowerml.campaign.status import CampaignStatus, Epoch, PhaseStatus, RunStatus
from flowerml.selection.records import Scope
from tests.selection.samples import decide, judged

CLASSES = ("daisy", "rose", "tulip")
NAMES = ("B01_CNN_lr3e4_wd0.02_fb3", "B02_CNN_lr7e4_wd0.05_fb5", "B03_CNN_lr1e3_wd0.02_fb3")


def history(best: float, epochs: int) -> tuple[Epoch, ...]:
    return tuple(Epoch(n, {"val_accuracy": best * (1 - 0.6 / n), "val_loss": 1 / n}) for n in range(1, epochs + 1))


def write_predictions(folder: Path, seed: int, pictures: list[str], classes: Sequence[str] = CLASSES) -> None:
    """A `predictions.csv` of three classes as runs leave it."""
    draw = np.random.default_rng(seed)
    path = folder / "predictions.csv"
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as handle:
        writer = csv.writer(handle)
        writer.writerow(["image", "label", "predicted", *(f"p_{name}" for name in classes)])
        for index, image in enumerate(pictures):
            logits = draw.normal(size=3) + 2.5 * np.eye(3)[index % 3]
            shares = np.exp(logits) / np.exp(logits).sum()
            writer.writerow([image, classes[index % 3], classes[int(shares.argmax())], *shares])


def sample_campaign(folder: Path, pictures: list[str] | None = None, train_dir: str = "data/train") -> CampaignSnapshot:
    draw = np.random.default_rng(0)
    judgements = {name: judged(name[:3], 11, draw.random(100) < 0.7 + 0.08 * index) for index, name in enumerate(NAMES)}
    runs, results = [run for run, _ in judgements.values()], {run.run_id: result for run, result in judgements.values()}
    decision = decide(runs, Scope(seeds=(11,), family="cnn"), results)
    chosen = tuple(
        name for standing in decision.standings[:2] for name in NAMES if standing.configuration.config_id == name[:3]
    )
    if pictures:
        write_predictions(folder, 1, pictures)
    rows = tuple(
        RunRow(
            name=name,
            phase="B",
            order=order,
            family="cnn",
            model="convnextv2_large",
            title="ConvNeXtV2-Large",
            seed=11,
            status=RunStatus.FINISHED,
            epochs=12,
            history=history(run.accuracy, 12),
            best_epoch=12,
            accuracy=run.accuracy,
            macro_f1=run.macro_f1,
            hits=run.hits,
            total=run.total,
            folder=folder,
            checkpoint=f"runs/{name}/best.pth",
            run_id=run.run_id,
            config_id=run.config_id,
            seconds=61.5,
        )
        for order, (name, (run, _)) in enumerate(judgements.items(), start=1)
    )
    others = [
        ("C01", RunStatus.RUNNING, ""),
        ("C02 <script>", RunStatus.FAILED, "the loss is nan at epoch 2, step 5 | lr 10"),
        ("C03", RunStatus.INTERRUPTED, ""),
        ("C04", RunStatus.TODO, ""),
    ]
    confirming = tuple(
        RunRow(
            name=name,
            phase="C",
            order=order,
            family="cnn",
            model="convnextv2_large",
            title="ConvNeXtV2-Large",
            seed=23,
            status=status,
            reason=reason,
        )
        for order, (name, status, reason) in enumerate(others, start=4)
    )
    highlights = (f"{chosen[0]} and {chosen[1]} go on.",)
    return CampaignSnapshot(
        id="0123456789ab",
        plan="tp3",
        title="TP3: one CNN, one ViT",
        status=CampaignStatus.RUNNING,
        phases=(
            PhaseSnapshot(
                name="B",
                title="B: six CNN runs",
                kind="select",
                status=PhaseStatus.CLOSED,
                runs=rows,
                decision=DecisionSummary(phase="B", decision=decision, chosen=chosen, highlights=highlights),
            ),
            PhaseSnapshot(
                name="C", title="C: two more seeds", kind="confirm", status=PhaseStatus.OPEN, runs=confirming, left=600
            ),
        ),
        plan_digest="ab" * 32,
        data_digest="cd" * 32,
        split_digest="ef" * 32,
        classes=CLASSES,
        train_dir=train_dir,
        started=1_790_000_000_000,
        updated=1_790_003_600_000,
        left=600,
        command=("flowerml", "campaign", "--plan", "tp3", "--set", "epochs=12"),
        overrides=("epochs=12",),
        warnings=("B01: lr_head 0.0003 is off the grid",),
        environment={"host": "here", "torch": "2.13.0"},
        delivered=(
            DeliveredFile(
                family="cnn",
                path=Path("cnn_flowers.pth"),
                sha256="12" * 32,
                registered_model="flowers-cnn",
                version="3",
                source_run="id",
                alias_note="Version 3 is champion.",
            ),
        ),
    )


def complete_campaign(folder: Path) -> CampaignSnapshot:
    """A snapshot with everything that a report can show: gains, accuracy without training, final models, a failure."""
    snapshot = sample_campaign(folder, [f"rose/{number}.jpg" for number in range(30)], "nowhere")
    select, confirm = snapshot.phases
    assert select.decision is not None
    gains = (("B02", "0.9100", "+0.0100", "+0.0010 to +0.0190", "yes"), ("B03", "0.9000", "+0.0000", "", "no"))
    runs = tuple(replace(run, zero_shot=0.6) for run in select.runs)
    select = replace(select, runs=runs, decision=replace(select.decision, base=NAMES[0], gains=gains))
    first = replace(runs[0], config=NAMES[2], zero_shot=None, phase="F", seconds=3725.0)
    finals = (
        replace(first, name="F01", order=8, accuracy=None, macro_f1=None, hits=None, total=None),
        replace(first, name="F02", order=9, history=(), config=None),
    )
    final = PhaseSnapshot(name="F", title="F: <finals>", kind="final", status=PhaseStatus.DELIVERING, runs=finals)
    return replace(snapshot, phases=(select, confirm, final), reason="phase C: C02 failed")
