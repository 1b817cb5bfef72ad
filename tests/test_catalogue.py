"""Catalogue, zoo and public names hold the same methods; options read from source are those that run."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from torch import nn
from zoo import ZOO

import cohobate
from cohobate.config.declared import Option, PassedOn, declaration, imported
from cohobate.core import Method, Term
from cohobate.core.options import declared_hints
from cohobate.recipes.catalogue import METHODS, TERMS

TESTS_OWN = {"turns"}
"""Cases of the zoo that are no method of a paper."""

MADE_OF_OTHERS = {"ensemble", "trained_together"}
"""Baselines whose phases are made of the classes of other methods; no option of theirs goes to a class."""

PUBLIC = {getattr(cohobate, name) for name in cohobate.__all__}


def makers(place: str) -> list[Any]:
    """What declares the options of a place: a function; of a class ``of``, ``between``, its constructor."""
    made = imported(place)
    if not isinstance(made, type):
        return [made]
    beside = [vars(made)[name].__func__ for name in ("of", "between") if name in vars(made)]
    takes_the_rest = all(rest(function) is not None for function in beside)
    return [*beside, made.__init__] if takes_the_rest else beside  # type: ignore[misc]


def rest(function: Any) -> inspect.Parameter | None:
    """``**options`` of a function, if it has them."""
    parameters = inspect.signature(inspect.unwrap(function)).parameters.values()
    return next((each for each in parameters if each.kind is inspect.Parameter.VAR_KEYWORD), None)


def passed_on(function: Any) -> PassedOn | None:
    """What the annotation of ``**options`` says."""
    parameter = rest(function)
    if parameter is None:
        return None
    hint = parameter.annotation
    hint = eval(hint, inspect.unwrap(function).__globals__) if isinstance(hint, str) else hint
    return next((mark for mark in get_args(hint)[1:] if isinstance(mark, PassedOn)), None)


def classes(place: str) -> Iterator[str]:
    """The class of a place; of a function, those that it passes options to."""
    if isinstance(imported(place), type):
        yield place
    elif (passed := passed_on(imported(place))) is not None:
        for inner in passed.places:
            yield from classes(inner)


def running(place: str) -> dict[str, Option]:
    """The options of a place as Python has them, in order; the first of a name counts."""
    options: dict[str, Option] = {}
    for maker in makers(place):
        parameters = inspect.signature(inspect.unwrap(maker)).parameters
        for name, hint in declared_hints(maker).items():
            options.setdefault(name, Option.of(hint, parameters[name].default))
        passed = passed_on(maker)
        for inner in passed.places if passed else ():
            for name, option in running(inner).items():
                if name not in passed.without:
                    default = passed.defaults.get(name, option.default)
                    options.setdefault(name, option._replace(default=default))
    return options


PLACES = sorted({*METHODS.values(), *(inner for place in METHODS.values() for inner in classes(place))})


def test_every_method_of_the_catalogue_is_in_the_zoo_and_the_reverse() -> None:
    """A case is called as its method, with words behind it where a method has several."""
    cases = {name.split()[0].rstrip(",") for name in ZOO} - TESTS_OWN
    assert {name for name in cases if "+" not in name} == set(METHODS)
    assert all(set(name.split("+")) <= set(TERMS) for name in cases if "+" in name)


@pytest.mark.parametrize("name", METHODS)
def test_the_class_of_every_method_is_a_public_name(name: str) -> None:
    there = [imported(place) for place in classes(METHODS[name])]
    assert bool(there) != (name in MADE_OF_OTHERS)
    assert set(there) <= PUBLIC


def test_every_public_method_and_term_is_in_the_zoo_and_the_reverse() -> None:
    public = {kind for kind in PUBLIC if isinstance(kind, type) and issubclass(kind, Method | Term)}
    of_the_zoo = {
        type(module) for case in ZOO.values() for module in case.make().modules() if is_of_methods(module)
    }
    assert of_the_zoo - public == set()
    assert public - of_the_zoo == {Method, Term}


def is_of_methods(module: nn.Module) -> bool:
    return isinstance(module, Method | Term) and type(module).__module__.startswith("cohobate.")


@pytest.mark.parametrize("place", PLACES)
def test_options_read_from_source_are_those_that_run(place: str) -> None:
    """Name, annotation with range and text, default, order; those that are passed on too."""
    options = running(place)
    assert list(declaration(place).options.items()) == list(options.items())
    assert all(option.help for option in options.values())
