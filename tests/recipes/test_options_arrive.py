"""Every option of every method, typed on the command line, arrives where it is used.

All options of a method are given at once, as flags, each with a value of its own that is not the default.
Then the method is made, and each object that declares an option must hold its value. Two options that are
swapped on the way, or one that is dropped, fail here, for a new method too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
import torch
from annotated_types import Ge, Le, Lt
from by_name import plan_of
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from zoo import CLASSES, student, toy_images

from cohobate.commands.parsing import parsed
from cohobate.commands.train import Command
from cohobate.config.declared import Option, PassedOn, imported
from cohobate.config.grammar import flag, text
from cohobate.config.idle import RULES
from cohobate.core import Ending, Method, Phase
from cohobate.core.options import declared_hints
from cohobate.data.arrays import arrays
from cohobate.engine.randomness import seed_all
from cohobate.methods.l2 import L2
from cohobate.methods.reskd import MutualResKD, OfLogits, ResKD
from cohobate.methods.rkd import RKD
from cohobate.methods.supervised import Supervised
from cohobate.models.build import build
from cohobate.recipes.catalogue import METHODS, TERMS
from cohobate.recipes.job import Job
from cohobate.recipes.options import options, own_group
from cohobate.recipes.recipe import find

LEFT_OUT = object()
CHOSEN: dict[str, dict[str, Any]] = {
    "okddip": {"separate_networks": True, "others": ("resnet14", "resnet8"), "at": "none", "branches": 3},
    "dml": {"peers": 3, "others": ("resnet14", "resnet8"), "detach": True},
    "takd": {"assistants": ("resnet14", "resnet8")},
    "dgkd": {"assistants": ("resnet14", "resnet8")},
    "frskd": {"features": "fitnet", "start": 0.1, "width": 0.25},
    "byot": {"unhinted": (2,)},
    "one": {"at": 1, "branches": 5},
    "cl_ilr": {"at": 1, "branches": 5},
    "gate": {"at": 2, "branches": 5},
    "gate_cd": {"at": 2, "branches": 5},
    "sa": {"at": 2, "branches": 5},
    "sa_cd": {"at": 2, "branches": 5},
    "ffm": {"at": 2, "branches": 5, "widths": (6, 5)},
    "ffm_cd": {"at": 2, "branches": 5, "widths": (6, 5)},
    "slkd": {"rho": 0.3, "sl_teachers": 2},
    "sad": {"skip": 1},
    "reskd": {
        "res_students": ("resnet14", "resnet8"),
        "stages": 2,
        "stop_share": None,
        "max_macs": LEFT_OUT,
        "energy_share": 0.25,
        "rkd_of": "features",
        "compare": "sum",
    },
    "ensemble": {"members": ("resnet14", "resnet8"), "networks": 3, "energy_share": 0.25},
    "trained_together": {"members": ("resnet14", "resnet8"), "networks": 3, "energy_share": 0.25},
    "fitnet_stages": {"hint_share": 0.43},
    "fitnet": {"stage": 1},
    "reviewkd": {"mid_channels": 12},
    "cwd": {"maps": "stages", "stage": 1},
}
"""Values that are not chosen by their type: they must fit one another, or this network."""

AT_DEFAULT = {("dml", "detach"), ("okddip", "at"), ("slkd", "sl_teachers")}
"""Options that the others of this table leave no other value."""

WAYS: dict[str, tuple[dict[str, Any], ...]] = {
    "reskd": (
        {"via": "rkd", "energy_split": "val"},
        {"via": "rkd", "rkd_of": "logits", "stop_share": 0.5, "res_students": LEFT_OUT, "stages": LEFT_OUT},
        {"via": "dml", "loss": "kl", "energy_split": "train"},
        {"via": "kd", "loss": "probabilities", "max_macs": 2e6, "res_students": LEFT_OUT, "stages": LEFT_OUT},
    ),
    **{
        name: (
            {"learn": "kd", "loss": "probabilities", "energy_split": "train"},
            {"learn": "labels", "energy_split": "val"},
        )
        for name in ("ensemble", "trained_together")
    },
}
"""Values with which other options have an effect, where they have none with one another."""


class Found(list[tuple[Phase, list[nn.Module]]]):
    """The phases of a plan, with the modules of each.

    Attributes:
        ending: what the plan returned.
        teacher: weights of the run's teacher.
    """

    ending: Ending = Ending()
    teacher: dict[str, Tensor]


def inner(found: Found, kind: str) -> Any:
    """The module of a class in the first phase that has one."""
    return next(m for _, modules in found for m in modules if type(m).__name__ == kind)


def head(found: Found) -> Method:
    return found[-1][0].method


def group(found: Found) -> Any:
    method: Any = head(found)
    return getattr(method, "method", method).group


def most_groups(module: nn.Module) -> int:
    """8: a depthwise convolution, as in the separable form; 1: none."""
    return 8 if any(m.groups > 1 for m in module.modules() if isinstance(m, nn.Conv2d)) else 1


def said(found: Found, pattern: str) -> float | None:
    """A number in the reason why a plan ended."""
    number = re.search(pattern, str(found.ending.found["reason"]))
    return float(number[1].replace(",", "")) if number else None


def via(found: Found) -> str:
    if isinstance(head(found), MutualResKD):
        return "dml"
    return "rkd" if any(isinstance(m, RKD) for _, modules in found for m in modules) else "kd"


def learned(found: Found) -> Any:
    """The method of a network, in an ensemble too."""
    method: Any = head(found)
    return getattr(method, "method", method)


def loss(found: Found) -> str:
    term = learned(found).term
    return {"logits": "l2", "probabilities": "probabilities"}[term.of] if isinstance(term, L2) else "kl"


def peer(found: Found) -> str:
    same = torch.equal(learned(found).peer.get_parameter("fc.weight"), found.teacher["fc.weight"])
    return "teacher" if same else "untrained"


EQ_3: dict[str, Callable[[Found], Any]] = {
    "loss": loss,
    "reduction": lambda f: inner(f, "L2").reduction,
    "tau": lambda f: {learned(f).term.weight, 1 - learned(f).ce_weight}.pop(),
    "temperature": lambda f: learned(f).term.temperature,
    "energy_split": lambda f: f.ending.found["energy_split"],
    "energy_share": lambda f: f.ending.found["energy_images"] / 40,
}
"""Options that ResKD's plan and its baselines share."""

BRANCHED = ("one", "cl_ilr", "gate", "gate_cd", "sa", "sa_cd", "ffm", "ffm_cd")
ELSEWHERE: dict[tuple[str, str], Callable[[Found], Any]] = {
    **{(name, key): see for name in ("reskd", "ensemble", "trained_together") for key, see in EQ_3.items()},
    ("reskd", "res_students"): lambda f: f.ending.members[1:],
    ("reskd", "stages"): lambda f: len(f) - 1,
    ("reskd", "stop_share"): lambda f: (above := said(f, r"ends above (\d+) %$")) and above / 100,
    ("reskd", "max_macs"): lambda f: said(f, r"more than --max-macs ([\d,]+)$"),
    ("reskd", "compare"): lambda f: head(f).compare,
    ("reskd", "ce_of"): lambda f: head(f).ce_of,
    ("reskd", "via"): via,
    ("reskd", "peer"): peer,
    ("reskd", "rkd_of"): lambda f: "logits" if isinstance(head(f).term, OfLogits) else "features",
    ("ensemble", "networks"): len,
    ("trained_together", "networks"): lambda f: len(inner(f, "Sum").networks),
    **{(name, "members"): lambda f: tuple(f.ending.members[1:]) for name in ("ensemble", "trained_together")},
    **{
        (name, "learn"): lambda f: {ResKD: "kd", Supervised: "labels"}[type(learned(f))]
        for name in ("ensemble", "trained_together")
    },
    ("fitnet_stages", "hint_share"): lambda f: f[0][0].settings["epochs"] / 100,
    ("fitnet_stages", "hint_weight"): lambda f: inner(f, "FitNet").weight,
    ("takd", "assistants"): lambda f: tuple(map(depth, f[:-1])),
    ("dgkd", "assistants"): lambda f: tuple(map(depth, f[:-1])),
    ("born_again", "generations"): len,
    ("slkd", "sl_teachers"): lambda f: len(inner(f, "Fusion").networks),
    ("slkd", "rho"): lambda f: inner(f, "Fusion").shares[0],
    ("slkd", "form"): lambda f: {2: "sequential"}[len(f)],
    ("slkd", "sl_lr"): lambda f: f[0][0].settings["groups"]["sl_teachers"]["lr"],
    ("self_guidance", "survival"): lambda f: inner(f, "SurvivalGates").probabilities[-1].item(),
    ("stochastic_depth", "survival"): lambda f: inner(f, "SurvivalGates").probabilities[-1].item(),
    ("dml", "peers"): lambda f: len(head(f).group),  # type: ignore[arg-type]
    ("dml", "others"): lambda f: tuple(map(named, head(f).group.networks[1:])),  # type: ignore[union-attr]
    ("okddip", "others"): lambda f: tuple(map(named, head(f).group.networks[1:])),  # type: ignore[union-attr]
    ("okddip", "branches"): lambda f: len(head(f).group),  # type: ignore[arg-type]
    ("okddip", "separate_networks"): lambda f: hasattr(head(f).group, "networks"),
    ("okddip", "alpha"): lambda f: {head(f).alpha, head(f).beta}.pop(),
    ("frskd", "features"): lambda f: {"Hints": "fitnet"}[type(inner(f, "FRSKD").feature).__name__],
    ("frskd", "beta"): lambda f: inner(f, "FRSKD").feature.weight,
    ("frskd", "sla"): lambda f: type(head(f)).__name__ == "FRSKDSLA",
    ("frskd", "levels"): lambda f: len(inner(f, "SelfTeacher").channels),
    ("frskd", "pyramid"): lambda f: {1: "bifpn"}[len(set(inner(f, "SelfTeacher").widths))],
    ("frskd", "width"): lambda f: inner(f, "SelfTeacher").widths[-1] / inner(f, "SelfTeacher").channels[-1],
    ("frskd", "layers"): lambda f: 1 + len(inner(f, "SelfTeacher").more),
    ("frskd", "upsampling"): lambda f: inner(f, "BiFPN").upsampling,
    ("frskd", "depth"): lambda f: sum(isinstance(m, nn.BatchNorm2d) for m in inner(f, "Node").convs),
    ("crd", "dim"): lambda f: inner(f, "CRD").student_bank.shape[1],
    ("reviewkd", "mid_channels"): lambda f: inner(f, "ReviewKD").fusions[0].enter[0].out_channels,
    ("cwd", "maps"): lambda f: "logits" if inner(f, "CWD").widths is None else "stages",
    ("standardised_kd", "temperature"): lambda f: inner(f, "KD").temperature,
    ("standardised_kd", "weight"): lambda f: {inner(f, "Standardised").weight, inner(f, "KD").weight}.pop(),
    ("byot", "bottleneck"): lambda f: {8: "separable"}[most_groups(inner(f, "Exit").bottleneck)],
    ("byot", "attention"): lambda f: type(inner(f, "Exit").attention).__name__ == "Attention",
    ("byot", "unhinted"): lambda f: tuple({1, 2} - {i + 1 for i in inner(f, "BYOT").hinted}),
    **{
        (name, "pairs"): lambda f: {4: "peers"}[len(inner(f, "Diversified").classifiers)]
        for name in BRANCHED
        if name.endswith("_cd")
    },
    **{(name, "branches"): lambda f: len(group(f)) for name in BRANCHED},
    **{(name, "at"): lambda f: group(f).shared for name in BRANCHED},
    **{
        (name, "widths"): lambda f: tuple(
            m.out_channels for m in inner(f, "FeatureFusion").block if isinstance(m, nn.Conv2d)
        )
        for name in ("ffm", "ffm_cd")
    },
}
"""Where an option is seen that no object holds under its own name."""


def depth(phase: tuple[Phase, list[nn.Module]]) -> str:
    return named(phase[0].method.student)  # type: ignore[arg-type]


def named(network: nn.Module) -> str:
    sizes = {sum(p.numel() for p in build(n, CLASSES).parameters()): n for n in ("resnet8", "resnet14")}
    return sizes[sum(p.numel() for p in network.parameters())]


# ---------------------------------------------------------------- a value for each option


def bounds(hint: Any) -> Iterator[Any]:
    """The marks of an annotation, those inside of it too."""
    if get_origin(hint) is Annotated:
        yield from get_args(hint)[1:]
    for part in get_args(hint):
        yield from bounds(part)


def kinds(hint: Any) -> list[Any]:
    """The plain types of an annotation."""
    if get_origin(hint) is Annotated:
        return kinds(get_args(hint)[0])
    if get_origin(hint) is Literal or not get_args(hint) or get_origin(hint) is tuple:
        return [hint]
    return [kind for part in get_args(hint) for kind in kinds(part)]


def chosen(option: Option, number: int) -> Any:
    """A value of the option's type and range that is not its default, the ``number``-th of its method."""
    for kind in kinds(option.hint):
        if get_origin(kind) is Literal:
            return next(value for value in get_args(kind) if value != option.default)
        if kind is bool:
            return not option.default
        if kind is float:
            return 0.4 + number / 64
        if kind is int:
            least = max([b.ge for b in bounds(option.hint) if isinstance(b, Ge)], default=0)
            most = min([b.le for b in bounds(option.hint) if isinstance(b, Le)], default=99)
            most = min([most, *(b.lt - 1 for b in bounds(option.hint) if isinstance(b, Lt))])
            return next(v for v in range(max(least, 2), most + 1) if v != option.default)
    raise AssertionError(f"no value is known for {option.hint}; give it one in CHOSEN")


def values(name: str, way: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Every option of a method -> a value that is not its default; those of the tables first.

    Those that have no effect in this way are left out.
    """
    numbers = count(1)
    given = CHOSEN.get(name, {}) | (way or {})
    every = {
        key: given[key] if key in given else chosen(option, next(numbers))
        for key, option in find(name).declaration.options.items()
        if given.get(key) is not LEFT_OUT
    }
    rules = [rule for rule in RULES if rule.on in every and not rule.counts(every[rule.on])]
    idle = {option for rule in rules for option in rule.options}
    return {key: value for key, value in every.items() if key not in idle}


def made(name: str, given: Mapping[str, Any], teacher: Path) -> Found:
    """The phases of the method, from its flags, with the modules of each."""
    flags = []
    for key, value in given.items():
        if isinstance(value, bool):
            flags.append(flag(key) if value else flag(f"no_{key}"))
        else:
            flags += [flag(key), *map(str, value)] if isinstance(value, tuple) else [flag(key), text(value)]
    flags += ["--model", student(name, teacher.parent), "--epochs", "100"]
    if find(name).needs_teacher:
        flags += ["--teacher", f"resnet14:weights={teacher}"]
    typed, _ = parsed("test", flags, Command, own={name: own_group(name)})
    dataset = arrays(*toy_images(40, 0), val=toy_images(20, 1))
    job = Job(options(name, typed), dataset, logits=lambda network, images: torch.zeros(len(images), CLASSES))
    seed_all(0)
    found, plan = Found(), plan_of(name, job)
    found.teacher = load_file(teacher)
    while True:
        try:
            phase = next(plan)
        except StopIteration as end:
            found.ending = end.value or Ending()
            return found
        found.append((phase, list(phase.method.modules())))


# ---------------------------------------------------------------- where it is declared


def declaring(place: str) -> Iterator[type]:
    """The classes whose constructors an option of a place can reach."""
    made = imported(place)
    if isinstance(made, type):
        yield made
        return
    hint = made.__annotations__.get("options", Any)
    hint = eval(hint, made.__globals__) if isinstance(hint, str) else hint
    for mark in get_args(hint):
        for inside in mark.places if isinstance(mark, PassedOn) else ():
            yield from declaring(inside)


def attribute(found: Found, kinds_: list[type], option: str) -> list[Any]:
    """What the objects of the classes that declare an option hold under its name."""
    holders = [kind for kind in kinds_ if option in declared_hints(kind.__init__)]  # type: ignore[misc]
    modules = [m for _, all_ in found for m in all_ if isinstance(m, tuple(holders))]
    return [getattr(module, option) for module in modules if hasattr(module, option)]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    torch.manual_seed(5)
    save_file(build("resnet14", CLASSES).state_dict(), path)
    return path


WITH_OPTIONS = [name for name in METHODS if find(name).declaration.options]


EVERY_WAY = [(name, way) for name in WITH_OPTIONS for way in WAYS.get(name, ({},))]


@pytest.mark.parametrize(("name", "way"), EVERY_WAY, ids=lambda each: each if isinstance(each, str) else "")
def test_every_option_arrives(name: str, way: Mapping[str, Any], teacher: Path) -> None:
    given = values(name, way)
    found = made(name, given, teacher)
    classes = [*declaring(METHODS[name])]
    if name == "slkd":  # its phases
        places = (
            "methods.slkd_fusion:Fusion",
            "methods.slkd_sequential:SelfLearning",
            "methods.slkd_sequential:Guided",
        )
        classes += map(imported, places)
    if name in TERMS:
        classes.append(imported("methods.distillation:Distillation"))
    lost = {}
    for option, value in given.items():
        if (name, option) not in AT_DEFAULT and option not in way:
            assert value != find(name).declaration.options[option].default, (option, "is at its default")
        if (name, option) == ("okddip", "at"):
            continue  # separate networks have no place where they part: see below
        if (name, option) in ELSEWHERE:
            seen = [ELSEWHERE[name, option](found)]
        else:
            seen = attribute(found, classes, option)
        expected = pytest.approx(value) if isinstance(value, float) else value
        if not seen or any(each != expected for each in seen):
            lost[option] = (value, seen)
    assert lost == {}


@pytest.mark.parametrize("name", WAYS)
def test_every_option_arrives_at_another_value_in_one_of_the_ways(name: str) -> None:
    options_ = find(name).declaration.options
    ways = [values(name, way) for way in WAYS[name]]
    assert {key for way in ways for key, value in way.items() if value != options_[key].default} == set(
        options_
    )


def test_okddips_place_of_branching_arrives(teacher: Path) -> None:
    shared = group(made("okddip", {"at": 1, "branches": 5}, teacher))
    assert (shared.shared, len(shared)) == (1, 5)


def test_options_that_are_swapped_are_seen(teacher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Self-Guidance's recipe once might have: weight as temperature, temperature as weight."""
    from cohobate.methods.self_guidance import SelfGuidance

    whole = SelfGuidance.__init__

    def swapped(self: SelfGuidance, network: nn.Module, **given: Any) -> None:
        one, two = given["weight"], given["temperature"]
        whole(self, network, **{**given, "weight": two, "temperature": one})

    swapped.__annotations__ = whole.__annotations__
    monkeypatch.setattr(SelfGuidance, "__init__", wraps(whole)(swapped))
    with pytest.raises(AssertionError, match="weight"):
        test_every_option_arrives("self_guidance", {}, teacher)


def test_every_method_is_here() -> None:
    assert len(WITH_OPTIONS) >= 30
    assert sum(len(find(name).declaration.options) for name in WITH_OPTIONS) >= 150
    known = {(name, option) for name in METHODS for option in find(name).declaration.options}
    assert set(ELSEWHERE) <= known
    assert {(name, option) for name, given in CHOSEN.items() for option in given} <= known
