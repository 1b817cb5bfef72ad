"""Which methods there are: a line each, with the place of its class or of the function that makes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..config.declared import Option, declaration
from ..config.objects import nearest

TERMS = {
    "kd": "methods.kd:KD",
    "l2": "methods.l2:L2",
    "standardised_kd": "methods.logit_standardisation:Standardised",
    "dkd": "methods.dkd:DKD",
    "dist": "methods.dist:DIST",
    "hard": "methods.hard_label:HardLabel",
    "fitnet": "methods.fitnet:FitNet",
    "at": "methods.at:AT",
    "sp": "methods.sp:SP",
    "rkd": "methods.rkd:RKD",
    "overhaul": "methods.ofd:OFD",
    "crd": "methods.crd:CRD",
    "reviewkd": "methods.reviewkd:ReviewKD",
    "cwd": "methods.cwd:CWD",
}
"""Loss terms between student and teacher; they can be added, ``kd+at``."""

TAUGHT = {
    "fitnet_stages": "recipes.plans:fitnet_stages",
    "slkd": "recipes.plans:slkd",
    "takd": "recipes.plans:takd",
    "dgkd": "recipes.plans:dgkd",
    "born_again": "recipes.plans:born_again",
    "deit": "methods.deit:DeiT",
    "reskd": "recipes.reskd:reskd",
    "ensemble": "recipes.reskd:ensemble",
    "trained_together": "recipes.reskd:trained_together",
}
"""Other methods that need a teacher."""

TEACHERLESS = {
    "stochastic_depth": "methods.stochastic_depth:StochasticDepth",
    "self_guidance": "methods.self_guidance:SelfGuidance",
    "dml": "recipes.peers:dml",
    "one": "recipes.peers:one",
    "cl_ilr": "recipes.peers:cl_ilr",
    "okddip": "recipes.peers:okddip",
    "ffm_cd": "recipes.peers:ffm_cd",
    "ffm": "recipes.peers:ffm",
    "sa": "recipes.peers:sa",
    "sa_cd": "recipes.peers:sa_cd",
    "gate": "recipes.peers:gate",
    "gate_cd": "recipes.peers:gate_cd",
    "frskd": "recipes.frskd:frskd",
    "byot": "methods.byot:BYOT",
    "ddgsd": "methods.ddgsd:DDGSD",
    "sad": "methods.sad:SAD",
    "cs_kd": "methods.cs_kd:CSKD",
    "sla_sd": "methods.sla:SLASD",
}

METHODS = {"baseline": "methods.supervised:Supervised", **TERMS, **TAUGHT, **TEACHERLESS}

BY_TASK = {"frskd": "recipes.frskd:defaults"}
"""Methods of which some defaults depend on the labels, and the function that knows them."""

_POOLED = "it compares pooled features, one vector an image"
_BRANCHES = "its branches are cut before the classifier of a network with one label an image"
_SUMS = "its sums of networks stop early for whole images"

UNMASKED = {
    "rkd": _POOLED,
    "crd": _POOLED,
    "overhaul": "it reads stages before their last ReLU, and the deepest map of a pyramid has none",
    "deit": "it reads a class token and a distillation token",
    "reskd": _SUMS,
    "ensemble": _SUMS,
    "trained_together": _SUMS,
    "one": _BRANCHES,
    "cl_ilr": _BRANCHES,
    "okddip": "it weighs networks by pooled features, one vector an image",
    **dict.fromkeys(("ffm_cd", "ffm", "sa", "sa_cd", "gate", "gate_cd"), _BRANCHES),
    "byot": "its shallow classifiers predict one class an image",
    "ddgsd": "it compares two augmentations of an image, whose pixels lie in different places",
    "cs_kd": "it pairs the images of a class",
    "sla_sd": "it turns images, and predicts how with the class of each",
}
"""Methods that cannot learn from masks, a label for every pixel, and why."""

SEGMENTING = METHODS.keys() - UNMASKED
"""Methods and terms that learn from masks too."""


def refuse_masks(name: str) -> None:
    """Raise a ValueError unless a method can learn from masks; one of the user's own is tried.

    Args:
        name: of a method, of terms that are added up, or ``file.py:Class``.
    """
    for part in term_names(name) or [name]:
        if part in UNMASKED:
            raise ValueError(
                f"{part} cannot learn from masks: {UNMASKED[part]}; `cohobate list methods` marks the "
                "methods that can"
            )


# ---------------------------------------------------------------- terms


def term_names(name: str) -> list[str]:
    """The terms of ``kd+at``; of another method none.

    Raises:
        ValueError: an unknown term (with the nearest), or one that stands twice.
    """
    if "+" not in name:
        return [name] if name in TERMS else []
    names = [part.strip() for part in name.split("+")]
    for part in names:
        if part not in TERMS:
            raise ValueError(f"unknown term {part!r} in {name!r}; the nearest are {nearest(part, TERMS)}")
    if len(set(names)) < len(names):
        raise ValueError(f"a term stands twice in {name!r}")
    return names


def term_options(names: Sequence[str]) -> Iterator[tuple[str, str, str, Option]]:
    """Of each option: its flag (``at_weight`` among several terms), term, name there, declaration."""
    for name in names:
        for inner, option in declaration(TERMS[name]).options.items():
            yield inner if len(names) == 1 else f"{name}_{inner}", name, inner, option
