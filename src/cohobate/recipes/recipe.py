"""A method by name: its options, its description and its plan."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..config.declared import Declaration, declaration, declaration_of, imported
from ..config.objects import load_object, nearest
from .catalogue import METHODS, TAUGHT, TERMS, term_names, term_options

if TYPE_CHECKING:
    from ..core import Plan
    from .job import Job


@dataclass(frozen=True)
class Recipe:
    """A method by name.

    Attributes:
        name: as it is typed.
        declaration: its options and its description.
        needs_teacher: whether it learns from a teacher of the run (``--teacher``).
    """

    name: str
    declaration: Declaration
    needs_teacher: bool

    @property
    def summary(self) -> str:
        """A sentence on the method, and whether it needs a teacher."""
        first = " ".join(self.declaration.doc.partition("\n\n")[0].split())
        return f"{first} Needs --teacher." if self.needs_teacher else first

    def plan(self, job: Job, options: Mapping[str, Any]) -> Plan:
        """A fresh plan; nothing is built before its first phase is asked for."""
        if terms := term_names(self.name):
            return (yield from imported("recipes.terms:distillation")(job, terms, options))
        made = load_object(self.name) if ":" in self.name else imported(METHODS[self.name])
        if isinstance(made, type):
            from ..core import Phase

            yield Phase("train", made.of(job, **options))  # type: ignore[attr-defined]
            return None
        return (yield from made(job, **options))


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


def _declared_terms(names: Sequence[str]) -> Declaration:
    """The options of the terms, and the smallest weight that one of them leaves to the cross-entropy."""
    terms = [declaration(TERMS[name]) for name in names]
    share = min(term.constants.get("ce_weight", 1.0) for term in terms)
    ce_weight = declaration("methods.distillation:Distillation").options["ce_weight"]
    options = {option: declared for option, _, _, declared in term_options(names)}
    docs = [term.doc.partition("\n\n")[0].rstrip(".") for term in terms]
    return Declaration(f"{' + '.join(docs)}.", options | {"ce_weight": ce_weight._replace(default=share)})
