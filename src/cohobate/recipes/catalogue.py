"""Which methods there are: a line each, with the place of its class or of the function that makes it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..config.declared import Declaration, Option, declaration, declaration_of, imported
from ..config.objects import load_object, nearest

if TYPE_CHECKING:
    from ..core import Plan
    from .job import Job

TERMS = {
    "kd": "methods.kd:KD",
    "standardised_kd": "methods.logit_standardisation:Standardised",
    "dkd": "methods.dkd:DKD",
    "dist": "methods.dist:DIST",
    "fitnet": "methods.fitnet:FitNet",
    "at": "methods.at:AT",
    "sp": "methods.sp:SP",
    "rkd": "methods.rkd:RKD",
    "overhaul": "methods.ofd:OFD",
    "crd": "methods.crd:CRD",
    "reviewkd": "methods.reviewkd:ReviewKD",
}
"""What student and teacher are compared in; terms add up, ``kd+at``."""

TAUGHT = {
    "fitnet_stages": "recipes.plans:fitnet_stages",
    "slkd": "recipes.plans:slkd",
    "takd": "recipes.plans:takd",
    "dgkd": "recipes.plans:dgkd",
    "born_again": "recipes.plans:born_again",
}
"""Other methods that learn from a teacher which is given."""

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


@dataclass(frozen=True)
class Recipe:
    """A method by name.

    Attributes:
        name: as it is typed.
        declaration: its options, and what it does.
        needs_teacher: whether it learns from a teacher that is given.
    """

    name: str
    declaration: Declaration
    needs_teacher: bool

    @property
    def summary(self) -> str:
        """What the method does, and whether it needs a teacher."""
        first = " ".join(self.declaration.doc.partition("\n\n")[0].split())
        return f"{first} Needs --teacher." if self.needs_teacher else first

    def plan(self, job: Job, options: Mapping[str, Any]) -> Plan:
        """A fresh plan; nothing is built before its first phase is asked for."""
        if terms := term_names(self.name):
            from .terms import distillation

            yield from distillation(job, terms, options)
            return
        made = load_object(self.name) if ":" in self.name else imported(METHODS[self.name])
        if isinstance(made, type):
            from ..core import Phase

            yield Phase("train", made.of(job, **options))  # type: ignore[attr-defined]
        else:
            yield from made(job, **options)


def find(name: str) -> Recipe:
    """A method by name, a sum of terms (``kd+at``), or a user's Method class (``file.py:Class``).

    Raises:
        ValueError: an unknown name (with the nearest), a term that stands twice, a class that is no Method.
    """
    if ":" in name:
        return _of_class(name)
    if terms := term_names(name):
        return Recipe(name, _declared_terms(terms), needs_teacher=True)
    if name in METHODS:
        return Recipe(name, declaration(METHODS[name]), name in TAUGHT)
    raise ValueError(
        f"unknown method {name!r}; the nearest are {nearest(name, METHODS)} "
        "(`cohobate list methods` shows all; terms add up, kd+at; file.py:Class takes your own)"
    )


def _of_class(spec: str) -> Recipe:
    from ..core import Method

    kind = load_object(spec)
    if not (isinstance(kind, type) and issubclass(kind, Method)):
        raise ValueError(f"{spec} is not a class that inherits from cohobate.Method")
    parameters = inspect.signature(kind).parameters
    own_of = "of" in vars(kind)
    if not own_of and not {"network", "student"} & set(parameters):
        raise ValueError(f"{spec} takes no network: its first parameter must be `network` or `student`")
    return Recipe(spec, declaration_of(kind), "teacher" in parameters)


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
    """Option as it is typed (``at_weight`` among several terms), its term, its name there, what it is."""
    for name in names:
        for inner, option in declaration(TERMS[name]).options.items():
            yield inner if len(names) == 1 else f"{name}_{inner}", name, inner, option


def _declared_terms(names: Sequence[str]) -> Declaration:
    """The options of the terms, and the smallest weight that one of them leaves to the cross-entropy."""
    terms = [declaration(TERMS[name]) for name in names]
    share = min(term.constants.get("ce_weight", 1.0) for term in terms)
    ce_weight = declaration("methods.distillation:Distillation").options["ce_weight"]
    options = {option: what for option, _, _, what in term_options(names)}
    docs = [term.doc.partition("\n\n")[0].rstrip(".") for term in terms]
    return Declaration(f"{' + '.join(docs)}.", options | {"ce_weight": ce_weight._replace(default=share)})
