"""The options that a class or a function declares, read from its source.

``cohobate train METHOD --help`` and a mistyped option must not wait for torch, which takes seconds to import.
So the options of a constructor (:mod:`cohobate.core.options`) are read from the file's syntax tree; only the
annotations and defaults of its keyword-only parameters are evaluated, with the constants and imports of that
file. A user's own code is imported and inspected instead.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

PACKAGE = __name__.partition(".")[0]
NOT_OPTIONS = ("self", "cls", "given", "network", "student", "teacher")
"""Parameters of a user's class that are passed by the run (:meth:`cohobate.core.Method.of`); all others are
options."""

VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Option(NamedTuple):
    """One option.

    Attributes:
        hint: its type, with its range.
        default: its default; ``inspect.Parameter.empty`` if it is required.
        help: its help text.
    """

    hint: Any
    default: Any
    help: str

    @classmethod
    def of(cls, hint: Any, default: Any) -> Option:
        marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
        # A user may write Doc("..."), or pydantic's Field(description="...").
        texts = [getattr(mark, "documentation", None) or getattr(mark, "description", None) for mark in marks]
        return cls(hint, default, next(filter(None, texts), ""))


class PassedOn:
    """Annotates ``**options`` with the classes or functions (``module:Name``) that they are passed on to.

    Args:
        places: classes and functions that declare the options; an option that the annotated function
            declares itself takes precedence.
        without: names of options that are not passed on.
        defaults: option -> default, where it differs from the declared one.
    """

    def __init__(
        self, *places: str, without: Collection[str] = (), defaults: Mapping[str, Any] | None = None
    ) -> None:
        self.places = places
        self.without = without
        self.defaults = defaults or {}

    @property
    def options(self) -> dict[str, Option]:
        declared = [declaration(place).options for place in self.places]
        return {
            name: option._replace(default=self.defaults.get(name, option.default))
            for options in declared
            for name, option in options.items()
            if name not in self.without
        }


@dataclass(frozen=True)
class Declaration:
    """The docstring, options and constants of a class or a function.

    Attributes:
        doc: its docstring; lists show the first paragraph.
        options: name -> option.
        constants: name -> plain value that the class body assigns.
    """

    doc: str
    options: dict[str, Option]
    constants: dict[str, Any] = field(default_factory=dict)


@cache
def declaration(place: str) -> Declaration:
    """The declaration of ``module:Name``, a module inside cohobate (``methods.kd:KD``).

    Raises:
        ValueError: there is no such module, or no such name in it.
    """
    module, _, name = place.partition(":")
    source = Source.of(f"{PACKAGE}.{module}")
    node = source.nodes.get(name)
    if isinstance(node, ast.FunctionDef):
        return Declaration(_doc(node), dict(source.options(node)))
    if not isinstance(node, ast.ClassDef):
        raise ValueError(f"{source.path} defines no class or function {name!r}")
    body = {child.name: child for child in node.body if isinstance(child, ast.FunctionDef)}
    makers = [body[method] for method in ("of", "between") if method in body]
    if all(maker.args.kwarg for maker in makers) and "__init__" in body:
        makers.append(body["__init__"])
    options = {key: option for maker in makers for key, option in source.options(maker)}
    return Declaration(_doc(node), options, dict(source.constants(node)))


def imported(place: str) -> Any:
    """The class or function ``module:Name`` itself."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(f"{PACKAGE}.{module}"), name)


def declaration_of(kind: type) -> Declaration:
    """The declaration of a user's class: the parameters of its constructor, and of its own ``of``."""
    functions = [vars(kind)["of"].__func__] if "of" in vars(kind) else []
    options: dict[str, Option] = {}
    for function in (*functions, inspect.unwrap(kind.__init__)):  # type: ignore[misc]
        hints = get_type_hints(function, include_extras=True)
        for parameter in inspect.signature(function).parameters.values():
            if parameter.name not in NOT_OPTIONS and parameter.kind not in VARIADIC:
                empty = parameter.default is inspect.Parameter.empty
                hint = hints.get(parameter.name, Any if empty else type(parameter.default))
                options[parameter.name] = Option.of(hint, parameter.default)
    return Declaration(inspect.cleandoc(kind.__doc__ or kind.__name__), options)


def _doc(node: ast.ClassDef | ast.FunctionDef) -> str:
    return ast.get_docstring(node) or node.name


# ---------------------------------------------------------------- source


class Source(dict[str, Any]):
    """The top-level names of a module, each evaluated on first access."""

    def __init__(self, module: str) -> None:
        self.module = module
        self.path = _file(module)
        tree = ast.parse(self.path.read_text())
        self.nodes: dict[str, ast.stmt] = {name: node for node in tree.body for name in _names(node)}

    @classmethod
    @cache
    def of(cls, module: str) -> Source:
        return cls(module)

    def options(self, node: ast.FunctionDef) -> Iterator[tuple[str, Option]]:
        """The options of a function: its keyword-only parameters, then those that ``**options`` passes on."""
        own = {}
        for parameter, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
            empty = inspect.Parameter.empty
            value = empty if default is None else self.value(default)
            own[parameter.arg] = Option.of(self.value(parameter.annotation), value)
        yield from own.items()
        rest = node.args.kwarg.annotation if node.args.kwarg is not None else None
        for mark in get_args(self.value(rest)):
            if isinstance(mark, PassedOn):
                yield from ((k, v) for k, v in mark.options.items() if k not in own)

    def constants(self, node: ast.ClassDef) -> Iterator[tuple[str, Any]]:
        for child in node.body:
            if isinstance(child, ast.AnnAssign | ast.Assign) and child.value is not None:
                try:
                    yield from ((name, ast.literal_eval(child.value)) for name in _names(child))
                except ValueError:
                    continue  # not a plain value

    def value(self, node: ast.expr | None) -> Any:
        """The value of an expression."""
        if node is None:
            return Any
        return eval(compile(ast.Expression(node), str(self.path), "eval"), {"__builtins__": {}}, self)

    def __missing__(self, name: str) -> Any:
        node = self.nodes.get(name)
        if isinstance(node, ast.Assign | ast.AnnAssign):
            self[name] = self.value(node.value)
        elif isinstance(node, ast.ImportFrom):
            self[name] = self._imported(node, name)
        elif isinstance(node, ast.ClassDef):  # a mark of annotations, in a file without torch
            self[name] = getattr(importlib.import_module(self.module), name)
        else:
            return getattr(builtins, name)
        return self[name]

    def _imported(self, node: ast.ImportFrom, name: str) -> Any:
        inner = next(alias.name for alias in node.names if name in (alias.asname, alias.name))
        package = self.module if self.path.stem == "__init__" else self.module.rpartition(".")[0]
        module = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
        if module.partition(".")[0] == PACKAGE and not module.startswith(f"{PACKAGE}.config."):
            return Source.of(module)[inner]
        return getattr(importlib.import_module(module), inner)


def _names(node: ast.stmt) -> Iterable[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return (node.name,)
    if isinstance(node, ast.ImportFrom):
        return tuple(alias.asname or alias.name for alias in node.names)
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return tuple(target.id for target in targets if isinstance(target, ast.Name))


def _file(module: str) -> Path:
    """The file of a module of cohobate; its package is not imported, since that may import torch."""
    package, _, name = module.rpartition(".")
    if not package:
        return Path(importlib.import_module(module).__file__ or "")
    known = getattr(sys.modules.get(package), "__path__", None) or [str(_file(package).parent)]
    for folder in known:
        for path in (Path(folder, f"{name}.py"), Path(folder, name, "__init__.py")):
            if path.is_file():
                return path
    raise ValueError(f"no module {module} in {', '.join(known)}")
