"""Phases whose configurations earlier phases choose: confirmation on seeds or folds, and final models."""

from collections.abc import Mapping, Sequence, Set

from flowerml.campaign.plan.model import ConfigRef, Confirm, Final, FinalMode, Phase, PhaseKind, PlanRun, ancestors
from flowerml.campaign.plan.overrides import Overrides
from flowerml.campaign.plan.run_settings import read_settings, value_of
from flowerml.campaign.plan.yaml_nodes import Node
from flowerml.settings import Family
from flowerml.settings.errors import did_you_mean

_MAX_SEED = 2**31
_MAX_FOLDS = 20
_FIRST_SEED = 11


def read_confirm(
    name: str, title: str, parts: Mapping[str, Node], before: Sequence[Phase], runs_before: int, overrides: Overrides
) -> Phase:
    """Parse a phase that repeats the promoted configurations of an earlier one on other seeds, or on folds.

    Its run names are in the order: the best configuration on each seed (and there on each fold), the second on each
    seed, and so on.

    Raises:
        UserError: a phase that is unknown, later, or selects nothing; seeds that were run already; a wrong number of
            names.
    """
    node = parts["confirm"]
    inner = node.as_fields({"of": True, "seeds": False, "folds": False, "with": False, "family": False})
    changes = {key: value_of(value) for key, value in read_settings(inner["with"]).items()} if "with" in inner else {}
    folds = inner["folds"].as_int(2, _MAX_FOLDS) if "folds" in inner else 0
    if not folds and "seeds" not in inner:
        raise node.error(f"{node.key} needs `seeds: […]` to repeat on, or `folds: N` for a cross-validation")
    seeds = read_seeds(inner["seeds"]) if "seeds" in inner else (_FIRST_SEED,)
    of = inner["of"].as_text()
    if "/" in of:
        plan, _, phase = of.partition("/")
        if not plan or not phase or "/" in phase:
            raise inner["of"].error(f"{inner['of'].key} is {of!r}. Allowed: a phase of this plan, or PLAN/PHASE")
        if folds:
            raise inner["folds"].error(f"{inner['folds'].key}: not with a phase of another plan; name seeds")
        if "family" not in inner:
            raise node.error(
                f"{node.key} follows another plan: say of which family that phase is ({', '.join(Family)}), with"
                " `family: …`"
            )
        family, top = Family(inner["family"].as_choice(list(Family))), 1
        changes |= overrides.of(family)  # its settings are not in this plan, so they are not overridden there
    else:
        source = _find_earlier_phase(inner["of"], before, name)
        if "family" in inner:
            raise inner["family"].error(f"{inner['family'].key}: the family is that of phase {of}; leave the line out")
        family, top = source.runs[0].family, _promoted_count(source, inner["of"])
        done = sorted({*seeds} & {run.seed for ancestor in ancestors(source, before) for run in ancestor.runs})
        if done and not changes and not folds:
            raise inner["seeds"].error(
                f"{inner['seeds'].key}: seed {done[0]} of these configurations is run before phase {name} already:"
                " name other seeds"
            )
    held_out = range(1, folds + 1) if folds else (None,)
    places = [(rank, seed, fold) for rank in range(1, top + 1) for seed in seeds for fold in held_out]
    on_folds = f" and {folds} folds" if folds else ""
    names = _read_run_names(
        parts["runs"],
        name,
        len(places),
        f"{top} configuration{'s' * (top > 1)} on {len(seeds)} seed{'s' * (len(seeds) > 1)}{on_folds}",
    )
    runs = [
        PlanRun(entry.as_text(), order, name, family, seed, None, ConfigRef(of, rank), {}, entry.line, fold=fold)
        for order, (entry, (rank, seed, fold)) in enumerate(zip(names, places, strict=True), start=runs_before + 1)
    ]
    return Phase(name, title, PhaseKind.CONFIRM, tuple(runs), confirm=Confirm(of, seeds, changes, folds))


def read_seeds(node: Node) -> tuple[int, ...]:
    """A list of seeds. Raises UserError for an empty one, or duplicates."""
    seeds = tuple(entry.as_int(0, _MAX_SEED) for entry in node.as_list())
    if len(set(seeds)) < len(seeds) or not seeds:
        raise node.error(f"{node.key}: at least one seed, and none twice")
    return seeds


def read_final(
    name: str, title: str, parts: Mapping[str, Node], before: Sequence[Phase], runs_before: int, mode: FinalMode | None
) -> Phase:
    """Parse a phase that makes one model of the winner of each phase it names. `mode` overrides the plan's.

    Raises:
        UserError: as `read_confirm`.
    """
    inner = parts["final"].as_fields({"mode": True, "of": True, "seed": False})
    written = FinalMode(inner["mode"].as_choice(list(FinalMode)))
    sources = [_find_earlier_phase(entry, before, name) for entry in inner["of"].as_list()]
    for source, entry in zip(sources, inner["of"].as_list(), strict=True):
        _promoted_count(source, entry)
        if source.confirm is not None and source.confirm.folds and (mode or written) is not FinalMode.RETRAIN:
            raise inner["mode"].error(
                f"{inner['mode'].key} is {mode or written}, and the runs of phase {source.name} each lack a fold of the"
                " pictures. Allowed: retrain"
            )
    families = [source.runs[0].family for source in sources]
    if len(set(families)) < len(families):
        raise inner["of"].error(f"{inner['of'].key}: two phases of one family: a delivery holds one model of each")
    seed = inner["seed"].as_int(0, _MAX_SEED) if "seed" in inner else 11
    names = _read_run_names(parts["runs"], name, len(sources), f"one model of each of {len(sources)} phases")
    runs = [
        PlanRun(
            entry.as_text(), order, name, source.runs[0].family, seed, None, ConfigRef(source.name, 1), {}, entry.line
        )
        for order, (entry, source) in enumerate(zip(names, sources, strict=True), start=runs_before + 1)
    ]
    final = Final(tuple(source.name for source in sources), mode or written, seed)
    if final.mode is FinalMode.RETRAIN:
        _check_scheduler({*families}, before, parts["final"])
    if final.mode is FinalMode.SOUP and (others := {*families} - {Family.CNN, Family.VIT}):
        raise inner["mode"].error(
            f"{inner['mode'].key} is soup, and weights of family {', '.join(sorted(others))} are not averaged. Allowed:"
            " retrain, keep_best"
        )
    return Phase(name, title, PhaseKind.FINAL, tuple(runs), final=final)


def _check_scheduler(families: Set[Family], before: Sequence[Phase], node: Node) -> None:
    """Refuse to retrain without validation images where the scheduler needs them. Raises UserError."""
    for run in (run for phase in before for run in phase.runs):
        if run.settings is not None and run.family in families and run.settings.scheduler == "plateau":
            raise node.error(
                f"{run.name} has scheduler plateau, which needs validation pictures, and {node.key} trains on all: "
                "take cosine or constant, or `mode: keep_best`"
            )


def _find_earlier_phase(node: Node, before: Sequence[Phase], name: str) -> Phase:
    of = node.as_text()
    for phase in before:
        if phase.name == of:
            return phase
    names = tuple(phase.name for phase in before)
    raise node.error(
        f"phase {name} follows {of!r}, which is no phase before it.{did_you_mean(of, names)} Those before it:"
        f" {', '.join(names) or 'none'}; a phase can only follow what is decided by then"
    )


def _promoted_count(phase: Phase, node: Node) -> int:
    if phase.select is None:
        raise node.error(
            f"phase {phase.name} chooses nothing: give it `select: {{top: 1, by: val_accuracy}}`, or follow another"
        )
    return phase.select.top


def _read_run_names(node: Node, phase: str, count: int, why: str) -> list[Node]:
    entries = node.as_list()
    if len(entries) != count:
        raise node.error(f"phase {phase} has {len(entries)} names and {count} runs ({why}): name each of them")
    return entries
