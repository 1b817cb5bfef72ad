"""One trunk and several tails: a network cut after a stage, with its last part several times over.

The cut is made in the graph that torch.fx records: the trunk is what the cut depends on, a tail all the
rest, and what the rest uses of the trunk crosses the cut as a tuple.

Choices. Recording looks into as few modules as it can: the network itself, those around the cut or a
stage, and those that return more than one tensor. All others run as they are, so that what they decide
by data, by chance or by ``training`` stays decided when they run. What is recorded is compared with the
uncut network on two images, in evaluation and in training mode, batch-norm statistics included.

The first tail keeps the network's weights. The weights of every other one are those of the whole network
drawn anew: ``reset_parameters`` of every module that has it, then, for the networks of this package,
their own initialisation; what neither has touched (a bare ``nn.Parameter``) gets its own numbers in
another order. Pretrained weights therefore survive in the trunk and in the first tail only, unless
``fresh=False`` copies them to all.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import TraceError
from torch.utils.flop_counter import FlopCounterMode

from ..core import Output, as_output
from .adapt import Adapted, Tap
from .probe import Shape, look, mode, noise
from .resnet import initialise

Fresh = bool | Callable[[nn.Module], object]
"""Whether tails draw new weights; a function draws those of a whole network, in place."""


class Branched(nn.Module):
    """A trunk and its tails; made by :func:`branch`.

    Parameters keep the paths of the source network, behind ``trunk.`` and ``tails.0.`` and so on.

    Attributes:
        trunk: images (B, C, H, W) -> the tuple of values that cross the cut.
        tails: each takes those values and returns an :class:`Output`, the trunk's stages included.
    """

    def __init__(self, trunk: fx.GraphModule, tails: Iterable[fx.GraphModule], source: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.tails = nn.ModuleList(tails)
        # A tuple hides the source from nn.Module's registration.
        self._source = (source,)

    def forward(self, x: Tensor) -> tuple[Output, ...]:
        """(B, C, H, W) -> one Output for each tail; the trunk runs once."""
        values = self.trunk(x)
        return tuple(tail(*values) for tail in self.tails)

    def alone(self, i: int) -> nn.Module:
        """Branch i as a plain network: the source's class and keys, the weights of trunk and tail, copied.

        Raises:
            ValueError: there is no such tail.
        """
        if not 0 <= i < len(self.tails):
            raise ValueError(f"there are {len(self.tails)} tails, numbered from 0; got {i}")
        network = deepcopy(self._source[0])
        _fill(network, _tensors(self.trunk, self.tails[i]))
        return network.train(self.training)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Branched:
        super()._apply(fn, recurse)
        self._source[0]._apply(fn, recurse)
        return self


class Point(NamedTuple):
    """A place where a network may branch. Sizes are None where it may not.

    Attributes:
        at: stages that the trunk keeps.
        stage: name of the last of them.
        trunk_parameters, tail_parameters: of the trunk and of one tail.
        trunk_macs, tail_macs: multiply-accumulates of one image.
        refusal: why the network cannot be cut here, None where it can.
    """

    at: int
    stage: str
    trunk_parameters: int | None = None
    tail_parameters: int | None = None
    trunk_macs: int | None = None
    tail_macs: int | None = None
    refusal: str | None = None


def branch(
    network: nn.Module,
    at: int | str,
    tails: int,
    shape: Shape = (3, 32, 32),
    fresh: Fresh = True,
) -> Branched:
    """A trunk shared by ``tails`` independent copies of the network's last part.

    The network itself is left as it was; trunk and tails are copies.

    Args:
        network: built in, adapted, or any that returns an :class:`Output`.
        at: how many stages the trunk keeps, 1 to all but one; or the path of the module after whose
            output to cut, as the network (the adapted one, not its wrapper) knows it.
        tails: how many, one or more.
        shape: (C, H, W) of the images to compare it with the uncut network on.
        fresh: the first tail keeps the network's weights; the others draw new ones from torch's global
            generator, or, if False, begin as copies. A function is called with a copy of the whole
            network for each of them, to draw its weights in place.

    Raises:
        ValueError: the network has no stages, or no such one, or no such module; its code decides by
            data where it would have to be recorded; a module or parameter serves on both sides of the
            cut; nothing is left for the tails; cut and uncut network disagree.
    """
    if tails < 1:
        raise ValueError(f"a network branches into one tail or more, got tails={tails}")
    trunk, tail = _cut(network, at, shape)
    branched = Branched(trunk, [deepcopy(tail) for _ in range(tails)], deepcopy(network))
    for other in list(branched.tails)[1:] if fresh else []:
        _fill(other, _tensors(_redrawn(network, fresh)))
    return branched


def branch_points(network: nn.Module, shape: Shape = (3, 32, 32)) -> list[Point]:
    """What :func:`branch` would make of each stage but the last.

    Raises:
        ValueError: the network has no stages.
    """
    return [_point(network, at, name, shape) for at, name in enumerate(_stages(network, shape)[:-1], 1)]


def _point(network: nn.Module, at: int, stage: str, shape: Shape) -> Point:
    try:
        trunk, tail = _cut(network, at, shape)
    except ValueError as error:
        return Point(at, stage, refusal=str(error))
    image = noise(network, shape)[:1]
    values, trunk_macs = _counted(trunk.eval(), image)
    _, tail_macs = _counted(tail.eval(), *values)
    sizes = [sum(p.numel() for p in part.parameters()) for part in (trunk, tail)]
    return Point(at, stage, *sizes, trunk_macs, tail_macs)


def _counted(part: nn.Module, *values: Any) -> tuple[Any, int]:
    """What the part returns, and its multiply-accumulates."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        result = part(*values)
    return result, counter.get_total_flops() // 2


# ---------------------------------------------------------------- weights


def _tensors(*parts: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by path; a tensor that has several paths is there under each."""
    found: dict[str, Tensor] = {}
    for part in parts:
        found |= dict(part.named_parameters(remove_duplicate=False))
        found |= dict(part.named_buffers(remove_duplicate=False))
    return found


@torch.no_grad()
def _fill(network: nn.Module, values: dict[str, Tensor]) -> None:
    """Copy the values of the same paths. Paths, unlike keys, are the same within wrappers."""
    for path, tensor in _tensors(network).items():
        if path in values:
            tensor.copy_(values[path])


@torch.no_grad()
def _redrawn(network: nn.Module, fresh: Fresh) -> nn.Module:
    """A copy of the network with new weights."""
    network = deepcopy(network)
    if callable(fresh):
        fresh(network)
        return network
    before = {path: parameter.clone() for path, parameter in network.named_parameters()}
    # From the inside out: a module that resets its children too has the last word.
    for module in reversed(list(network.modules())):
        reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
        if reset is not None:
            reset()
    if _built_in(network):
        initialise(network)
    for path, parameter in network.named_parameters():
        if torch.equal(parameter, before[path]):
            order = torch.randperm(parameter.numel(), device=parameter.device)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return network


def _built_in(network: nn.Module) -> bool:
    return type(network).__module__.startswith(f"{__package__}.") and not isinstance(network, Adapted)


# ---------------------------------------------------------------- where to cut


def _title(network: nn.Module) -> str:
    return type(network.network if isinstance(network, Adapted) else network).__name__


def _own(network: nn.Module, path: str) -> str:
    """A path as the user's network knows it, without the adapter's prefix."""
    return path.removeprefix("network.") if isinstance(network, Adapted) else path


def _stages(network: nn.Module, shape: Shape) -> list[str]:
    """Names of the stages."""
    count = len(look(network, shape).output.stages)
    if not count:
        raise ValueError(
            f"{_title(network)} has no stages to cut after: name a module by its path, or give the network "
            "stages with cohobate.adapt(network, stages=[...])"
        )
    if isinstance(network, Adapted):
        return list(network.stage_names)
    return [f"stage {number}" for number in range(1, count + 1)]


def _numbered(network: nn.Module, at: int, shape: Shape) -> str:
    """The name of the last stage that the trunk keeps."""
    names = _stages(network, shape)
    if not 1 <= at < len(names):
        valid = f"at goes from 1 to {len(names) - 1}, or" if len(names) > 1 else "at can only be"
        raise ValueError(
            f"at={at}: {_title(network)} has {len(names)} stages ({', '.join(names)}), of which the trunk "
            f"keeps the first ones and the tails at least one; {valid} the path of a module"
        )
    return names[at - 1]


def _located(network: nn.Module, at: str, shape: Shape) -> str:
    """The path of a module that runs once, as the whole network knows it."""
    prefix = "network." if isinstance(network, Adapted) else ""
    ran = [call.path for call in look(network, shape).calls if call.path.startswith(prefix) and call.path]
    path = prefix + at
    if path not in ran:
        known = sorted({_own(network, each) for each in ran})
        why = "does not run by itself" if path in dict(network.named_modules()) else "does not exist"
        raise ValueError(
            f"at={at!r}: this module of {_title(network)} {why}; the nearest that run are "
            f"{', '.join(difflib.get_close_matches(at, known, n=3, cutoff=0.0))}"
        )
    if ran.count(path) > 1:
        raise ValueError(
            f"at={at!r}: this module of {_title(network)} runs {ran.count(path)} times in a pass, so it is no "
            "single place; name a module around one of its runs"
        )
    return path


# ---------------------------------------------------------------- recording


class _Tracer(fx.Tracer):
    """Looks into the ``opened`` modules only, and remembers what each module returned.

    Attributes:
        returned: path -> what the module gave.
        shown: what the network gave.
    """

    shown: Output

    def __init__(self, opened: set[str]) -> None:
        super().__init__()
        self.opened = opened
        self.returned: dict[str, Any] = {}

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> Any:
        """A network is given images; further arguments keep their defaults."""

        def show(root: nn.Module, x: fx.Proxy) -> Output:
            shown = root_fn(root, x)
            self.shown = shown if isinstance(shown, Output) else Output(shown)
            return self.shown

        return show, [self.root, self.create_proxy("placeholder", "x", (), {})]

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name not in self.opened

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        path = self.path_of_module(m)
        # What is not opened does not run now, nor do its hooks.
        leaf = self.is_leaf_module(m, path)
        for tap in _taps(m._forward_pre_hooks) if leaf else ():
            tap(m, args)
        output = super().call_module(m, forward, args, kwargs)
        for tap in _taps(m._forward_hooks) if leaf else ():
            tap(m, args, output)
        self.returned[path] = output
        return output


def _taps(hooks: dict[int, Any]) -> dict[Any, int]:
    """The hooks that read stages."""
    return {hook: key for key, hook in hooks.items() if isinstance(hook, Tap)}


def _record(network: nn.Module, path: str | None, shape: Shape) -> _Tracer:
    """The network's graph (``tracer.graph``). Its taps are gone: they would keep features alive.

    Raises:
        ValueError: code that would have to be recorded cannot be.
    """
    tracer = _Tracer(_to_open(network, path, shape))
    try:
        with mode(network, training=False):
            tracer.trace(network)
    except Exception as error:  # the network's code ran on stand-ins for tensors: it may raise anything
        place = _own(network, next(reversed(tracer.module_stack), ""))
        code = f"the code of {place!r}" if place else "its forward"
        what = "decides by the contents or sizes of tensors" if isinstance(error, TraceError) else "fails"
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{code} {what} when torch.fx records it ({reason})") from error
    for module in network.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            for key in _taps(hooks).values():
                del hooks[key]
    return tracer


def _to_open(network: nn.Module, path: str | None, shape: Shape) -> set[str]:
    """Paths of the modules to look into, found in a dry pass.

    Those that hold the module at ``path`` or a tapped one, that return more than one tensor, or whose
    parts run without them.
    """
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


# ---------------------------------------------------------------- cutting


def _cut(network: nn.Module, at: int | str, shape: Shape) -> tuple[fx.GraphModule, fx.GraphModule]:
    """Trunk and one tail: copies, with the network's weights."""
    if isinstance(at, str):
        path, place = _located(network, at, shape), at
    else:
        path, place = None, _numbered(network, at, shape)
    copy = deepcopy(network)
    try:
        tracer = _record(copy, path, shape)
        kept = tracer.returned[path] if path is not None else tracer.shown.stages[int(at) - 1]
        trunk, tail = _split(copy, tracer.graph, _nodes(kept))
        _check_apart(network, trunk, tail)
        for training in (False, True):
            _compare(network, trunk, tail, shape, training)
    except ValueError as error:
        raise ValueError(f"{_title(network)} cannot be cut after {place}: {error}") from error
    return trunk, tail


def _nodes(value: Any) -> list[fx.Node]:
    """The nodes of all stand-ins in a value."""
    if isinstance(value, fx.Proxy):
        return [value.node]
    return [node for each in value for node in _nodes(each)] if isinstance(value, tuple | list) else []


def _split(
    network: nn.Module, graph: fx.Graph, cut: Sequence[fx.Node]
) -> tuple[fx.GraphModule, fx.GraphModule]:
    trunk = _trunk_nodes(graph, cut)
    crossing = [node for node in graph.nodes if node in trunk and not trunk.issuperset(node.users)]
    first, rest = fx.Graph(), fx.Graph()
    before: dict[fx.Node, fx.Node] = {}
    after = {node: rest.placeholder(node.name) for node in crossing}
    for node in graph.nodes:
        if node in trunk:
            before[node] = first.node_copy(node, before.__getitem__)
        elif node.op != "get_attr" or node.users:
            after[node] = rest.node_copy(node, after.__getitem__)
    first.output(tuple(before[node] for node in crossing))
    return _module(network, first, "Trunk"), _module(network, rest, "Tail")


def _trunk_nodes(graph: fx.Graph, cut: Sequence[fx.Node]) -> set[fx.Node]:
    """What the cut depends on, and what follows of it without a module or parameter and is seen."""
    *_, shown, output = graph.nodes
    trunk = _ancestors([*cut, next(iter(graph.nodes))])
    for node in shown.all_input_nodes:
        more = _ancestors([node]) - trunk
        if all(each.op.startswith("call_") and each.op != "call_module" for each in more):
            trunk |= more
    used = _ancestors([output])
    for node in graph.nodes:
        # Unused results, such as the second of a pair, stay with what they come from.
        if node not in used and node.op.startswith("call_") and trunk.issuperset(node.all_input_nodes):
            trunk.add(node)
    return trunk


def _ancestors(nodes: Iterable[fx.Node]) -> set[fx.Node]:
    """The nodes and all that they depend on."""
    found: set[fx.Node] = set()
    todo = list(nodes)
    while todo:
        node = todo.pop()
        if node not in found:
            found.add(node)
            todo.extend(node.all_input_nodes)
    return found


def _module(network: nn.Module, graph: fx.Graph, name: str) -> fx.GraphModule:
    module = fx.GraphModule(network, graph, name)
    for path, part in module.named_modules():
        part.training = network.get_submodule(path).training
        # Every tail reads what the trunk returned: none may overwrite it.
        if getattr(part, "inplace", False) is True:
            part.inplace = False
    # No module may serve two parts, not even one without parameters.
    return deepcopy(module)


# ---------------------------------------------------------------- checking


def _check_apart(network: nn.Module, trunk: fx.GraphModule, tail: fx.GraphModule) -> None:
    """Raises ValueError if a parameter or buffer serves both, or if nothing to train is left to the tail."""
    if not any(True for _ in tail.parameters()):
        raise ValueError("no parameter comes after it, so tails could not differ")
    tensors = _tensors(network)
    trunks = {id(tensors[path]) for path in _tensors(trunk) if path in tensors}
    lent = [str(node.target) for node in trunk.graph.output_node().all_input_nodes if node.op == "get_attr"]
    for path in [*_tensors(tail), *lent]:
        if path in tensors and id(tensors[path]) in trunks:
            holder, _, name = _own(network, path).rpartition(".")
            what = f"the {name!r} of the module {holder!r}" if holder else f"the network's {name!r}"
            raise ValueError(f"{what} serves on both sides of the cut, so tails could not be independent")


def _compare(
    network: nn.Module, trunk: fx.GraphModule, tail: fx.GraphModule, shape: Shape, training: bool
) -> None:
    """Raises ValueError unless trunk and tail do what the network does."""
    x = noise(network, shape)
    uncut, parts = deepcopy(network).train(training), deepcopy(nn.ModuleList([trunk, tail])).train(training)
    with _same_chance(x):
        expected = as_output(uncut(x.clone()))
    with _same_chance(x):
        values = [value for value in parts[0](x.clone())]
        versions = [value._version for value in values if isinstance(value, Tensor)]
        got = parts[1](*values)
    if versions != [value._version for value in values if isinstance(value, Tensor)]:
        raise ValueError("the code after it overwrites in place what tails share; change that operation")
    moved = {path: buffer for path, buffer in _tensors(*parts).items() if path in _tensors(uncut)}
    for one, other in ((_items(expected), _items(got)), (_tensors(uncut), moved)):
        for what, tensor in other.items():
            if not _same(one[what], tensor):
                raise ValueError(
                    f"in {'training' if training else 'evaluation'} mode, {_own(network, what)} would not be "
                    "what the uncut network has; code that decides by self.training belongs in a module of "
                    "its own (nn.Dropout, say, not F.dropout)"
                )


@contextmanager
def _same_chance(x: Tensor) -> Iterator[None]:
    with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []), torch.no_grad():
        torch.manual_seed(0)
        yield


def _items(output: Output) -> dict[str, Tensor]:
    items = {"logits": output.logits, "pooled": output.pooled}
    items |= {f"stage {i}": stage for i, stage in enumerate(output.stages, 1)}
    items |= {f"preact {i}": preact for i, preact in enumerate(output.preacts or (), 1)}
    return {name: tensor for name, tensor in items.items() if tensor is not None}


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-4, atol=1e-5, equal_nan=True)
