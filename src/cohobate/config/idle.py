"""Options that have no effect because of the value of another one. No torch here.

Only those that somebody gave are refused: a set-up, or the run.yaml of a run, has a value for every option.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .grammar import flag, text, without


class Rule(NamedTuple):
    """Options that count only with certain values of another one.

    Attributes:
        options: their names.
        on: name of the option that decides.
        counts: its value -> whether they have an effect.
        needed: values with which they have one, in words.
    """

    options: tuple[str, ...]
    on: str
    counts: Callable[[Any], bool]
    needed: str


def _one_of(options: tuple[str, ...], on: str, *values: str) -> Rule:
    return Rule(options, on, lambda value: value in values, f"{flag(on)} {' or '.join(values)}")


def _any_is_trained(teachers: Collection[str]) -> bool:
    """Whether one of the teachers is trained for the run; those with weights of their own are not."""
    return not teachers or any(
        not (Path(spec).is_dir() or spec.endswith(".safetensors") or without(spec, "weights")[1])
        for spec in teachers
    )


RULES = (
    _one_of(("milestones", "step_factor"), "schedule", "step"),
    _one_of(("power",), "schedule", "power"),
    _one_of(("final",), "schedule", "cosine", "power"),
    _one_of(("eval_resize",), "fit", "crop"),
    _one_of(("momentum", "nesterov"), "optimizer", "sgd"),
    _one_of(("mixing_alpha", "mixing_share"), "mixing", "mixup", "cutmix"),
    Rule(("unlabelled_share",), "unlabelled", bool, "--unlabelled"),
    Rule(("teacher_weights",), "teacher", lambda teachers: len(teachers) != 1, "several teachers"),
    _one_of(("renamed_classes",), "match_classes", "by_name"),
    Rule(
        ("teacher_epochs", "teacher_lr", "teacher_seed"),
        "teacher",
        _any_is_trained,
        "a --teacher that is the name of a model, which is trained for the run",
    ),
    # Options of single methods; they hold where a method has the option that decides.
    _one_of(("rkd_of", "distance_weight", "angle_weight"), "via", "rkd"),
    _one_of(("loss", "reduction", "tau", "temperature"), "via", "kd", "dml"),
    _one_of(("peer",), "via", "dml"),
    _one_of(("compare",), "rkd_of", "logits"),
    _one_of(("loss", "reduction", "tau", "temperature"), "learn", "kd"),
    _one_of(("temperature",), "loss", "probabilities", "kl"),
    _one_of(("reduction",), "loss", "l2", "probabilities"),
    _one_of(("energy_share",), "energy_split", "train"),
    _one_of(("temperature",), "of", "probabilities"),
)


def refuse_idle(given: Collection[str], values: Mapping[str, Any], free: Collection[str] = ()) -> None:
    """Raise a ValueError if an option that was given has no effect.

    Args:
        given: names of the options that somebody typed.
        values: of all options of a run, whoever gave them.
        free: names of options that take several values, as in a sweep.
    """
    for rule in RULES:
        if rule.on not in values or rule.on in free or rule.counts(values[rule.on]):
            continue
        for option in rule.options:
            if option in given:
                other = (
                    f"{flag(rule.on)} {text(values[rule.on])}" if values[rule.on] else f"no {flag(rule.on)}"
                )
                raise ValueError(
                    f"{flag(option)} has no effect with {other}: it needs {rule.needed}; leave it out"
                )
