"""Two commands that register at the same time, and registered models that somebody else has made."""

import pytest
from mlflow.tracking import MlflowClient

import flowerml.tracking.registry.register as registry
from flowerml.errors import UserError
from flowerml.selection.registration import AliasAction
from flowerml.tracking import register
from tests.tracking.registry.test_register import aliases, versions


@pytest.fixture
def meanwhile(monkeypatch):
    """Calls a function while the next registration writes its model: after that one has looked, before it acts."""
    write = registry.save_served_model

    def arrange(other):
        pending = [other]

        def write_after_the_other(*args):
            if pending:
                pending.pop()()
            write(*args)

        monkeypatch.setattr(registry, "save_served_model", write_after_the_other)

    return arrange


def ready_models(store):
    return [model for model in store.client.search_logged_models([store.experiment]) if str(model.status) == "READY"]


class TestAtTheSameTime:
    def test_one_decision_becomes_one_version(self, store, meanwhile):
        decision = store.decide()
        meanwhile(lambda: register(decision, "cnn"))
        second = register(decision, "cnn")
        assert (second.version, second.created) == ("1", False)
        assert [str(version) for version in versions()] == ["1"]
        assert aliases() == {"champion": "1"}
        assert len(ready_models(store)) == 1, "the second one's model is withdrawn with its version"

    def test_the_better_of_two_decisions_is_champion_whichever_is_first(self, store, meanwhile):
        register(store.decide(hits=10), "cnn")
        worse, better = store.decide(hits=20, config="a" * 64), store.decide(hits=21, config="b" * 64)
        meanwhile(lambda: register(better, "cnn"))
        assert register(worse, "cnn").verdict.action is AliasAction.KEEP
        assert aliases() == {"champion": "2", "previous": "1"}
        assert len(versions()) == 3

    def test_a_better_decision_takes_the_alias_from_one_that_came_in_between(self, store, meanwhile):
        worse, better = store.decide(hits=20, config="a" * 64), store.decide(hits=21, config="b" * 64)
        meanwhile(lambda: register(worse, "cnn"))
        register(better, "cnn")
        assert aliases()["champion"] == "2"

    @pytest.mark.slow
    def test_a_model_that_another_command_has_created_meanwhile_is_used(self, store, meanwhile):
        vit = store.decide("vit")
        meanwhile(lambda: register(store.decide("vit", hits=5, config="a" * 64), "vit"))
        assert register(vit, "vit").version == "2"


class TestSomebodyElses:
    def test_registered_model_is_refused_and_left_as_it_is(self, store):
        client = MlflowClient()
        client.create_registered_model("flowers-cnn", description="mine")
        client.create_model_version("flowers-cnn", "file:///mine")
        client.set_registered_model_alias("flowers-cnn", "champion", "1")
        with pytest.raises(
            UserError, match="the registered model 'flowers-cnn' is not flowerml's: nothing is registered"
        ):
            register(store.decide(), "cnn", force=True)
        assert (aliases(), len(versions()), ready_models(store)) == ({"champion": "1"}, 1, [])

    def test_a_model_of_an_earlier_flowerml_is_known_without_a_mark(self, store):
        text = "Champions chosen by `flowerml select`: alias champion, and previous before it."
        MlflowClient().create_registered_model("flowers-cnn", description=text)
        assert register(store.decide(), "cnn").verdict.action is AliasAction.FIRST

    def test_alias_on_a_version_registered_by_hand_stays_unless_forced(self, store):
        register(store.decide(hits=10), "cnn")
        client = MlflowClient()
        client.create_model_version("flowers-cnn", "file:///mine")
        client.set_registered_model_alias("flowers-cnn", "champion", "2")
        better = store.decide(hits=30, config="a" * 64)
        kept = register(better, "cnn")
        assert "Version 2, which was registered by hand, keeps the alias" in kept.summary
        assert aliases()["champion"] == "2"
        assert register(better, "cnn", force=True).verdict.action is AliasAction.FORCED
        assert aliases() == {"champion": "3", "previous": "2"}
