"""The commands that `make_fixture.py` runs, each in a working folder beside `data/` and `weights/`."""

SMALL = "--train-dir ../data/train --img-size 32 --batch-size 8 --workers 0 --device cpu --warmup-epochs 0"
CNN = f"--model timm:test_efficientnet --weights ../weights/cnn.safetensors {SMALL}"
VIT = f"--model timm:test_vit --weights ../weights/vit.safetensors {SMALL}"
HEAD_ONLY = "--epochs 2 --freeze-backbone-epochs 2 --mixup 0 --cutmix 0"
TRAINED = {
    **{
        f"cnn-a-s{seed}": f"train {CNN} {HEAD_ONLY} --lr-head 2e-2 --seed {seed} --output-dir runs/cnn-a-s{seed}"
        for seed in (11, 23)
    },
    **{
        f"cnn-b-s{seed}": f"train {CNN} {HEAD_ONLY} --lr-head 1e-4 --seed {seed} --output-dir runs/cnn-b-s{seed}"
        for seed in (11, 23)
    },
    "vit-s11": f"train {VIT} {HEAD_ONLY} --lr-head 2e-2 --seed 11 --output-dir runs/vit-s11",
}
RELATION = (
    "train --model relation:timm:test_vit --weights ../weights/vit.safetensors --train-dir scenes --img-size 32 "
    "--epochs 1 --freeze-backbone-epochs 1 --lr-head 1e-3 --embedding 16 --batch-size 32 --workers 0 --device cpu "
    "--output-dir runs/relation"
)
KILLED = (  # the whole network is trained, with dropout, EMA and mixing; SGD, as its state is a third smaller
    f"train {CNN} --epochs 4 --freeze-backbone-epochs 2 --optimizer sgd --lr-head 1e-2 --lr-backbone 1e-2 "
    "--dropout 0.2 --seed 5 --checkpoint-every-steps 2 --keep-checkpoints 1 --output-dir runs/killed"
)
STOPPED = f"train {VIT} --epochs 4 --freeze-backbone-epochs 4 --lr-head 1e-3 --seed 5 --output-dir runs/stopped"
UNDELIVERED = f"train {CNN} {HEAD_ONLY} --lr-head 3e-3 --seed 47 --output-dir runs/undelivered"
SELECT = {"cnn": "select --family cnn --seeds 11,23", "vit": "select --family vit --seeds 11"}
CAMPAIGN = "campaign --plan plan.yaml --train-dir ../data/train --output-dir delivery --json"
PLAN = """\
plan: tiny
about: every kind of phase, as small as can be
grid: none
defaults: {epochs: 2, warmup_epochs: 0, freeze_backbone_epochs: 2, batch_size: 8, img_size: 32, workers: 0, device: cpu,
  randaugment: 0, mixup: 0, cutmix: 0, random_erasing: 0}
families:
  cnn: {model: "timm:test_efficientnet", weights: ../weights/cnn.safetensors}
  vit: {model: "timm:test_vit", weights: ../weights/vit.safetensors}
phases:
  A:
    smoke: true
    runs:
      A1: {family: cnn, epochs: 1, freeze_backbone_epochs: 1}
  B:
    family: cnn
    runs:
      B1: {lr_head: 1e-4}
      B2: {lr_head: 2e-2}
    select: {top: 1, by: val_accuracy, then: [macro_f1, variance]}
  C:
    confirm: {of: B, seeds: [23]}
    runs: [C1]
    select: {top: 1, by: val_accuracy}
  D:
    family: vit
    runs:
      D1: {lr_head: 2e-2, epochs: 6, freeze_backbone_epochs: 6}
      D2: {lr_head: 1e-4}
    select: {top: 1, by: val_accuracy}
  F:
    final: {mode: retrain, of: [C, D]}
    runs: [F1, F2]
"""
