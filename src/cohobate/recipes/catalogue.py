"""Which methods there are, and the options of each as one model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import ValidationError, create_model
from pydantic_core import PydanticUndefined

from ..config.objects import load_object, nearest
from ..config.training import Training
from . import frskd, methods, peers, self_distillation, terms
from .job import Job

if TYPE_CHECKING:
    from ..core import Plan

Recipe = Callable[..., "Plan"]

RECIPES: dict[str, Recipe] = {
    "baseline": methods.baseline,
    **{name: terms.distillation(name) for name in terms.TERMS},
    "fitnet_stages": methods.fitnet_stages,
    "slkd": methods.slkd,
    "takd": methods.takd,
    "dgkd": methods.dgkd,
    "born_again": methods.born_again,
    "stochastic_depth": methods.stochastic_depth,
    "self_guidance": methods.self_guidance,
    "dml": peers.dml,
    "one": peers.one,
    "cl_ilr": peers.cl_ilr,
    "okddip": peers.okddip,
    "ffm_cd": peers.multi_branch("ffm", diverse=True),
    "ffm": peers.multi_branch("ffm", diverse=False),
    "sa": peers.multi_branch("sa", diverse=False),
    "sa_cd": peers.multi_branch("sa", diverse=True),
    "gate": peers.multi_branch("gate", diverse=False),
    "gate_cd": peers.multi_branch("gate", diverse=True),
    "frskd": frskd.frskd,
    "byot": self_distillation.byot,
    "ddgsd": self_distillation.ddgsd,
    "sad": self_distillation.sad,
    "cs_kd": self_distillation.cs_kd,
    "sla_sd": self_distillation.sla_sd,
}

TAUGHT = frozenset({*terms.TERMS, "fitnet_stages", "slkd", "takd", "dgkd", "born_again"})
"""Methods that take ``--teacher``; so does every sum of terms."""

OF_TEACHERS = ("teacher", "cache_teacher", "unlabelled")
"""Options of a run that mean nothing without a teacher."""

HANDED = ("network", "student", "teacher")
"""Parameters of a user's method that are networks, not options."""


def find(name: str) -> Recipe:
    """A recipe by name, a sum of terms (``kd+at``), or of a user's Method class, ``file.py:Class``.

    Raises:
        ValueError: an unknown name, or the class is no Method.
    """
    if ":" in name:
        return _of_class(name)
    if "+" in name:
        return terms.distillation(name)
    if name in RECIPES:
        return RECIPES[name]
    raise ValueError(
        f"unknown method {name!r}; the nearest are {nearest(name, RECIPES)} "
        "(`cohobate list methods` shows all; terms add up, kd+at; file.py:Class takes your own)"
    )


def _of_class(spec: str) -> Recipe:
    from ..core import Method, Phase

    kind = load_object(spec)
    if not (isinstance(kind, type) and issubclass(kind, Method)):
        raise ValueError(f"{spec} is not a class that inherits from cohobate.Method")
    parameters = inspect.signature(kind).parameters
    needs_teacher = "teacher" in parameters
    network = next((n for n in ("network", "student") if n in parameters), None)
    if network is None:
        raise ValueError(f"{spec} takes no network: its first parameter must be `network` or `student`")

    def recipe(job: Job, **options: Any) -> Plan:
        given = {"teacher": job.teacher()} if needs_teacher else {}
        yield Phase("train", kind(**{network: job.network()}, **given, **options))

    recipe.__doc__ = kind.__doc__
    recipe.__wrapped__ = kind.__init__  # type: ignore[attr-defined]
    return recipe


def takes_teacher(name: str) -> bool:
    """Whether a method learns from a teacher that is given to it."""
    if ":" in name:
        return "teacher" in inspect.signature(inspect.unwrap(find(name))).parameters
    return name in TAUGHT or "+" in name


@cache
def options_model(name: str) -> type[Training]:
    """Every option of a method's run: those of :class:`Training` and the method's own.

    Raises:
        ValueError: an unknown method; or an option of a user's method takes a name already in use.
    """
    recipe = find(name)
    target = inspect.unwrap(recipe)
    hints = get_type_hints(target, localns={"Plan": Any}, include_extras=True)
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(target).parameters.values():
        if parameter.name in ("job", "self", *HANDED):
            continue
        if parameter.name in Training.model_fields:
            raise ValueError(f"option {parameter.name!r} of {name} is an option of every run; rename it")
        default = parameter.default
        empty = default is inspect.Parameter.empty
        hint = hints.get(parameter.name, Any if empty else type(default))
        fields[parameter.name] = (hint, PydanticUndefined if empty else default)
    model = create_model("Options", __base__=Training, __doc__=described(name), **fields)
    return model


def described(name: str) -> str:
    """What a method does, and whether it needs a teacher."""
    text = inspect.cleandoc(find(name).__doc__ or name)
    return f"{text} Needs --teacher." if takes_teacher(name) else text


def own_options(name: str) -> list[str]:
    """The names of a method's own options."""
    return [field for field in options_model(name).model_fields if field not in Training.model_fields]


def options(name: str, given: Mapping[str, Any]) -> Training:
    """Checked options of a method.

    Raises:
        ValueError: an unknown option (with the nearest), one that is missing, or a value out of range.
    """
    return _checked(name, options_model(name), given)


def some_options(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Checked options that need not be all that the method requires: the rest is still to come.

    Raises:
        ValueError: an unknown option (with the nearest), or a value out of range.
    """
    fields = options_model(name).model_fields
    own: dict[str, Any] = {
        field: (Any, None)
        if fields[field].is_required() and field not in given
        else (fields[field].annotation, fields[field])
        for field in own_options(name)
    }
    partial = create_model("Options", __base__=Training, **own)
    return _checked(name, partial, given).model_dump(exclude_unset=True)


def _checked(name: str, model: type[Training], given: Mapping[str, Any]) -> Training:
    for key in given:
        if key not in model.model_fields:
            near = nearest(key, model.model_fields)
            raise ValueError(f"{name} has no option {key!r}; the nearest are {near}")
    if not takes_teacher(name):
        for key in OF_TEACHERS:
            if given.get(key) and given[key] != Training.model_fields[key].default:
                raise ValueError(f"{name} takes no teacher; leave --{key.replace('_', '-')} out")
    try:
        return model(**given)
    except ValidationError as error:
        raise ValueError(f"{name}: {'; '.join(map(_problem, error.errors()))}") from error


def _problem(error: Any) -> str:
    place = ".".join(map(str, error["loc"]))
    if not place:
        return str(error["msg"])
    if error["type"] == "missing":
        return f"{place} is required"
    return f"{place}: {error['msg']} (got {error['input']!r})"


def label(name: str, config: Training) -> str:
    """The method and those of its own options that differ from their defaults."""
    fields = type(config).model_fields
    changed = [
        f"{option}={text(getattr(config, option))}"
        for option in own_options(name)
        if getattr(config, option) != fields[option].default
    ]
    return " ".join([name, *changed])


def text(value: Any) -> str:
    """A value of an option, as it is written on the command line."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
