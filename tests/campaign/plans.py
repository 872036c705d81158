"""Small plans for tests, and a plan read from a text."""

import textwrap

from flowerml.campaign.plan.overrides import read_overrides
from flowerml.campaign.plan.parser import parse_plan
from flowerml.campaign.plan.yaml_nodes import parse_yaml

SMALL = """\
plan: small
about: two families, three phases each
grid: none
defaults: {weights: none, epochs: 3, warmup_epochs: 1, freeze_backbone_epochs: 0}
families:
  cnn: {model: convnextv2_atto, img_size: 32}
  vit: {model: clip_vits32, img_size: 32}
phases:
  A:
    smoke: true
    runs:
      A1: {family: cnn, epochs: 1}
      A2: {family: vit, epochs: 1}
  B:
    family: cnn
    runs:
      B1: {lr_head: 1e-3}
      B2: {lr_head: 2e-3}
      B3: {lr_head: 3e-3}
    select: {top: 2, by: val_accuracy, then: [macro_f1, variance]}
  C:
    confirm: {of: B, seeds: [23, 47]}
    runs: [C1, C2, C3, C4]
    select: {top: 1, by: val_accuracy}
  D:
    family: vit
    runs:
      D1: {lr_head: 1e-3}
      D2: {lr_head: 2e-3}
    select: {top: 1, by: val_accuracy}
  F:
    final: {mode: retrain, of: [C, D]}
    runs: [F1, F2]
budget: {runs: 24, tries: 2}
"""


def plan_of(text, *overrides):
    """A plan from a text, as from the file plan.yaml."""
    return parse_plan(parse_yaml(textwrap.dedent(text), "plan.yaml"), read_overrides(overrides))


def changed(old, new, text=SMALL):
    """SMALL with a part of it replaced, which has to be there once."""
    assert text.count(old) == 1, old
    return text.replace(old, new)
