"""`--set NAME=VALUE`: the overrides of a plan."""

import pytest

from flowerml.campaign.plan.model import FinalMode
from flowerml.errors import UserError
from tests.campaign.plans import SMALL, changed, plan_of


class TestOverrides:
    def test_for_all_and_for_a_family(self):
        plan = plan_of(SMALL, "img_size=64", "model.cnn=convnextv2_femto", "lr_backbone.vit=1e-4")
        assert {run.settings.img_size for run in plan.runs if run.settings} == {64}
        assert {(run.settings.model, run.settings.lr_backbone) for run in plan.runs if run.settings} == {
            ("convnextv2_femto", 2e-4),
            ("clip_vits32", 1e-4),
        }

    def test_several_in_one_text_as_mlflow_run_hands_them_over(self):
        assert plan_of(SMALL, "img_size=64 epochs=2").digest == plan_of(SMALL, "img_size=64", "epochs=2").digest

    def test_a_value_may_have_spaces(self):
        plan = plan_of(SMALL, "weights=/my files/a.pth epochs=2")
        assert {run.settings.weights for run in plan.runs if run.settings} == {"/my files/a.pth"}

    def test_they_change_the_digest(self):
        digests = {
            plan_of(SMALL, *words).digest for words in ((), ("epochs=2",), ("epochs.cnn=2",), ("final.mode=keep_best",))
        }
        assert len(digests) == 4

    def test_what_shapes_nothing_does_not_change_the_digest(self):
        plan = plan_of(SMALL)
        assert plan.digest == plan_of(SMALL, "workers=3").digest
        assert plan.digest == plan_of(changed("about: two families, three phases each\n", "# a remark\n")).digest
        assert plan.digest == plan_of(changed("tries: 2", "tries: 5")).digest
        assert plan.digest == plan_of(changed("B1: {lr_head: 1e-3}", "B1: {lr_head: 0.001}")).digest

    def test_freeze_and_warmup_are_clamped_to_a_shorter_run(self):
        text = changed("B1: {lr_head: 1e-3}", "B1: {lr_head: 1e-3, freeze_backbone_epochs: 3}")
        plan = plan_of(text, "epochs=2")
        assert plan.run("B1").settings.freeze_backbone_epochs == 2
        assert plan.warnings == (
            "freeze_backbone_epochs 3 is longer than the run with these overrides: 2 is used (B1)",
        )

    def test_the_mode_of_the_final_models(self):
        assert plan_of(SMALL, "final.mode=keep_best").phase("F").final.mode is FinalMode.KEEP_BEST

    @pytest.mark.parametrize(
        ("word", "says"),
        [
            ("epochs", "wanted is NAME=VALUE"),
            ("epochs=", "wanted is NAME=VALUE"),
            ("epohcs=2", "setting 'epohcs' is unknown. Did you mean epochs?"),
            ("epochs=0", "epochs is '0'. Allowed: whole number, >= 1"),
            ("epochs=many", "epochs is 'many'. Allowed: whole number, >= 1"),
            ("warmup_epochs=some epochs=3", "warmup_epochs is 'some'"),
            ("epochs.cnm=2", "family 'cnm' is unknown. Did you mean cnn?"),
            ("train_dir=x", "train_dir is the campaign's own folder: --train-dir"),
            ("seed=3", "seed is given with the runs"),
            ("final.mode=keep", "final.mode is 'keep'. Did you mean keep_best?"),
            ("model.cnn=clip_vits32", "model clip_vits32 is of family vit"),
            ("lr_head=1e-3", "B2 and B1 .* are one configuration and seed with these overrides"),
        ],
    )
    def test_refused(self, word, says):
        with pytest.raises(UserError, match=says):
            plan_of(SMALL, word)

    def test_a_family_without_runs(self):
        text = """\
            plan: one
            defaults: {weights: none}
            phases:
              B: {family: cnn, runs: {B1: {}}}
            """
        with pytest.raises(UserError, match=r"the plan has no runs of that family\. It has: cnn"):
            plan_of(text, "epochs.vit=3")
