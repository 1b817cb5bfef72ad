"""The computation of a network, as a torch.fx graph.

Choices. As few modules as possible are traced into: the network itself, those that contain a tapped stage
or the place of a cut, those that return more than one tensor, and those whose submodules also run on their
own. Every other module is one node of the graph, so it may branch on data, on random numbers or on
``training``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from torch import Tensor, fx, nn
from torch.fx.proxy import TraceError

from ...config.text import first_line
from ...core import Output, Shape, mode
from .adapt import Adapted, Tap
from .probe import look


def own(network: nn.Module, path: str) -> str:
    """A path within the user's network, which is a child of its adapter if it is adapted."""
    return path.removeprefix("network").removeprefix(".") if isinstance(network, Adapted) else path


class Recorder(fx.Tracer):
    """Traces into the ``opened`` modules only, and records the output of each module.

    Attributes:
        returned: path of a module -> its output, proxies for tensors.
        shown: output of the network.
    """

    shown: Output

    def __init__(self, opened: set[str]) -> None:
        super().__init__()
        self.opened = opened
        self.returned: dict[str, Any] = {}

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> Any:
        """The images are the only input; further arguments of ``forward`` keep their defaults."""

        def show(root: nn.Module, x: fx.Proxy) -> Output:
            shown = root_fn(root, x)
            self.shown = shown if isinstance(shown, Output) else Output(shown)
            return self.shown

        return show, [self.root, self.create_proxy("placeholder", "x", (), {})]

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name not in self.opened

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        path = self.path_of_module(m)
        # A leaf module does not run while tracing, nor do its hooks: the taps are called here.
        leaf = self.is_leaf_module(m, path)
        for tap in _taps(m._forward_pre_hooks) if leaf else ():
            tap(m, args)
        output = super().call_module(m, forward, args, kwargs)
        for tap in _taps(m._forward_hooks) if leaf else ():
            tap(m, args, output)
        self.returned[path] = output
        return output


def _taps(hooks: Mapping[int, Any]) -> dict[Any, int]:
    """The hooks that are taps, with their keys."""
    return {hook: key for key, hook in hooks.items() if isinstance(hook, Tap)}


def record(network: nn.Module, path: str | None, shape: Shape) -> Recorder:
    """Trace a network, and remove its taps, which would keep features in memory.

    Raises:
        ValueError: the code of an opened module cannot be recorded.
    """
    tracer = Recorder(_to_open(network, path, shape))
    try:
        with mode(network, training=False):
            tracer.trace(network)
    except Exception as error:  # the network's code ran on proxies for tensors: it may raise anything
        inside = own(network, next(reversed(tracer.module_stack.values()), ("",))[0])
        fault = "branches on a tensor's values or size" if isinstance(error, TraceError) else "fails"
        reason = first_line(error)
        code = f"the code of {inside}" if inside else "its forward"
        raise ValueError(f"{code} {fault}, where torch.fx has to trace it ({reason})") from error
    for module in network.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            for key in _taps(hooks).values():
                del hooks[key]
    return tracer


def _to_open(network: nn.Module, path: str | None, shape: Shape) -> set[str]:
    """Paths of the modules to trace into, from a dry pass that shows which modules run inside others."""
    inner = {p for p, m in network.named_modules() if _taps(m._forward_hooks) or _taps(m._forward_pre_hooks)}
    opened: set[str] = set()
    stack: list[str] = []

    def begin(name: str, module: nn.Module, inputs: Any) -> None:
        opened.update(above for above in _above(name) if above not in stack)
        if name in inner or name == path:
            opened.update(stack)
        stack.append(name)

    def end(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        stack.pop()
        if not isinstance(output, Tensor) and not type(module).__module__.startswith("torch.nn."):
            opened.add(name)

    handles = []
    for name, module in network.named_modules():
        handles.append(module.register_forward_pre_hook(partial(begin, name)))
        handles.append(module.register_forward_hook(partial(end, name)))
    look(network, shape)
    for handle in handles:
        handle.remove()
    return opened


def _above(path: str) -> Iterator[str]:
    """a.b.c -> a.b, a."""
    while "." in path:
        path = path.rpartition(".")[0]
        yield path
