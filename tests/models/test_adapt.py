"""Adapters on hand-written networks that know nothing of cohobate: stages, head, keys, refusals."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend

from cohobate.core import Classifier, Frozen, Output, Shape
from cohobate.models.build import build
from cohobate.models.surgery.adapt import Adapted, adapt

SHAPE: Shape = (3, 16, 16)


def sequential() -> nn.Module:
    """Three resolutions, pooling between them, nothing in it named."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(inplace=True), nn.Dropout2d(0.1), nn.AvgPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, 5),
    )  # fmt: skip


class Layers(nn.Module):
    """stem, layer1 to layer5, avgpool, fc; the last two layers have one resolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        for i, (inputs, outputs, stride) in enumerate(
            [(4, 4, 1), (4, 6, 2), (6, 8, 2), (8, 8, 2), (8, 8, 1)]
        ):
            layer = nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs), nn.ReLU()
            )
            self.add_module(f"layer{i + 1}", layer)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i in range(5):
            x = self.get_submodule(f"layer{i + 1}")(x)
        return self.fc(self.avgpool(x).flatten(1))


class Body(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()),
            nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(4, 8, 3, padding=1), nn.ReLU()),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x)


class Nested(nn.Module):
    """The body is a module inside another; the classifier has two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Body()
        self.classify = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.model(x).mean((2, 3)))


class Loop(nn.Module):
    """Blocks in lists of lists, run by loops; the last convolution is the classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        widths = [(4, 4), (4, 6), (6, 8)]
        self.blocks = nn.ModuleList(
            nn.ModuleList([nn.Conv2d(a, b, 3, 1 if a == b else 2, 1), nn.Conv2d(b, b, 3, 1, 1)])
            for a, b in widths
        )
        self.conv_last = nn.Conv2d(8, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for stage in self.blocks:
            for block in stage:
                x = F.relu(block(x))
        return self.conv_last(F.adaptive_avg_pool2d(x, 1)).flatten(1)


Found = tuple[tuple[str, ...], list[tuple[int, int]], str | None]
FOUND: dict[Callable[[], nn.Module], Found] = {
    sequential: (("2", "5", "10"), [(4, 16), (6, 8), (8, 4)], "14"),
    Layers: (("layer2", "layer3", "layer4", "layer5"), [(6, 8), (8, 4), (8, 2), (8, 2)], "fc"),
    Nested: (("model.encoder.0", "model.encoder.1"), [(4, 16), (8, 8)], "classify.2"),
    Loop: (("blocks.0.1", "blocks.1.1", "blocks.2.1"), [(4, 16), (6, 8), (8, 4)], None),
}
"""Network -> its stages, their channels and sizes, its classifier."""

networks = pytest.mark.parametrize("make", FOUND, ids=lambda make: make.__name__)


def images(dtype: torch.dtype = torch.float32, number: int = 4) -> Tensor:
    return torch.randn(number, *SHAPE, dtype=torch.float64).to(dtype)


def taps(adapted: nn.Module) -> list[Any]:
    assert isinstance(adapted, Adapted)
    return [*getattr(adapted._features, "taps", []), *([adapted._pooled] if adapted._pooled else [])]


def held(adapted: nn.Module) -> list[str]:
    return [tap.path for tap in taps(adapted) if tap.value is not None]


def by_hand(network: nn.Module, names: Sequence[str], x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Logits, and what the modules give, copied at once, so that nothing is overwritten."""
    found: list[Tensor] = []
    handles = [
        network.get_submodule(name).register_forward_hook(lambda m, i, o: found.append(o.clone()))
        for name in names
    ]
    logits = network(x)
    for handle in handles:
        handle.remove()
    return logits, found


def check_same(adapted: nn.Module, bare: nn.Module, names: Sequence[str]) -> Output:
    """The adapted network gives what the bare one of the same weights gives, trained and evaluated."""
    x = images(torch.float64)
    for training in (True, False):
        adapted.train(training), bare.train(training)
        torch.manual_seed(1)
        output = adapted(x)
        torch.manual_seed(1)
        logits, stages = by_hand(bare, names, x)
        assert torch.equal(output.logits, logits)
        for one, two in zip(output.stages, stages, strict=True):
            assert torch.equal(one, two)
    return output


# ---------------------------------------------------------------- what is found


@networks
def test_stages_and_classifier_are_found(make: Callable[[], nn.Module]) -> None:
    names, sizes, head = FOUND[make]
    network = make().double()
    bare = deepcopy(network)
    adapted = adapt(network, shape=SHAPE)
    assert isinstance(adapted, Adapted)
    assert (adapted.stage_names, adapted.head, adapted.network) == (names, head, network)
    output = check_same(adapted, bare, names)
    assert [(s.shape[1], s.shape[2]) for s in output.stages] == sizes
    if head is None:
        assert output.pooled is None
    else:
        assert torch.equal(network.get_submodule(head)(output.pooled), output.logits)


def test_named_stages_and_head_are_taken_instead() -> None:
    adapted = adapt(Layers(), stages=["stem", "layer3.0"], head="fc", shape=SHAPE)
    output = adapted(images())
    assert [tuple(s.shape[1:]) for s in output.stages] == [(4, 16, 16), (8, 4, 4)]
    assert adapt(Layers(), stages=[], shape=SHAPE)(images()).stages == ()


def test_children_that_ran_in_another_order_than_registered() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(8, 5)
            self.deep = nn.Conv2d(4, 8, 3, 2, 1)
            self.shallow = nn.Conv2d(3, 4, 3, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.deep(self.shallow(x)).mean((2, 3)))

    assert adapt(Backwards(), shape=SHAPE).stage_names == ("shallow", "deep")


def test_a_fully_connected_network_has_no_stages_but_a_head() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 8), nn.ReLU(), nn.Linear(8, 5))
    output = adapt(network, shape=SHAPE)(images())
    assert output.stages == ()
    assert output.pooled.shape == (4, 8)


def test_a_network_with_an_output_of_its_own_is_returned_as_it_is() -> None:
    network = build("resnet8", 5)
    assert adapt(network, shape=SHAPE) is network
    adapted = adapt(sequential(), shape=SHAPE)
    assert adapt(adapted, shape=SHAPE) is adapted
    assert not list(network._forward_hooks)
    with pytest.raises(ValueError, match="ResNet returns an Output already; adapt a plain network"):
        adapt(network, stages=["stages.0"], shape=SHAPE)
    with pytest.raises(ValueError, match="ResNet returns an Output already"):
        adapt(network, head="fc", shape=SHAPE)


def test_a_network_may_be_adapted_again_with_other_stages() -> None:
    network = Layers().double()
    bare = deepcopy(network)
    adapt(network, shape=SHAPE)
    check_same(adapt(network, stages=["layer1", "layer4"], shape=SHAPE), bare, ["layer1", "layer4"])


# ---------------------------------------------------------------- keys, copies, memory


@networks
def test_keys_are_the_users_and_load_both_ways(make: Callable[[], nn.Module]) -> None:
    bare, adapted = make(), adapt(make(), shape=SHAPE)
    assert list(adapted.state_dict()) == list(bare.state_dict())
    adapted.load_state_dict(bare.state_dict())
    other = make()
    other.load_state_dict(adapted.state_dict())
    for key, value in bare.state_dict().items():
        assert torch.equal(value, other.state_dict()[key])
    missing = {k: v for k, v in bare.state_dict().items() if not k.endswith("bias")}
    with pytest.raises(RuntimeError, match="Missing key"):
        adapted.load_state_dict(missing)


@networks
def test_a_copy_has_features_of_its_own(make: Callable[[], nn.Module]) -> None:
    adapted = adapt(make(), shape=SHAPE).eval()
    copy = deepcopy(adapted)
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.zero_()
    x = images()
    theirs, ours = copy(x), adapted(x)
    for one, two in zip(theirs.stages, ours.stages, strict=True):
        assert not one.any()
        assert two.any()
    copy(x)
    assert held(adapted) == held(copy) == []
    assert not {id(tap) for tap in taps(copy)} & {id(tap) for tap in taps(adapted)}


@networks
def test_nothing_is_held_after_a_pass(make: Callable[[], nn.Module]) -> None:
    adapted = adapt(make(), shape=SHAPE)
    assert held(adapted) == []
    output = adapted(images())
    stages = [weakref.ref(stage) for stage in output.stages]
    del output
    gc.collect()
    assert held(adapted) == []
    assert [ref() for ref in stages] == [None] * len(stages)


def test_a_copy_after_a_pass_of_the_bare_network_or_one_that_broke() -> None:
    adapted = adapt(Layers(), shape=SHAPE)
    adapted.network(images())  # not through the adapter: nobody reads the taps
    assert held(deepcopy(adapted)) == []
    with pytest.raises(RuntimeError):
        adapted(torch.randn(4, 5, 16, 16))
    assert held(deepcopy(adapted)) == []
    assert adapted(images()).stages[0].shape == (4, 6, 8, 8)


def test_saved_whole_and_read_back(tmp_path: Path) -> None:
    adapted = adapt(Layers(), shape=SHAPE).eval()
    torch.save(adapted, tmp_path / "whole.pt")
    again = torch.load(tmp_path / "whole.pt", weights_only=False)
    x = images()
    for one, two in zip(again(x).stages, adapted(x).stages, strict=True):
        assert torch.equal(one, two)


class Counting(nn.Module):
    """Buffers that are not of batch norm and move in training, and a draw of random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(3, track_running_stats=True)
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.steps += 1
        return self.norm(x) + torch.rand_like(x)


def test_the_dry_pass_leaves_statistics_modes_and_random_state() -> None:
    network = nn.Sequential(Counting(), nn.BatchNorm2d(3), sequential())
    network[2].eval()
    state, modes = deepcopy(network.state_dict()), [m.training for m in network.modules()]
    gradients = [p.requires_grad for p in network.parameters()]
    random = torch.get_rng_state()
    adapt(network, shape=SHAPE)
    assert torch.equal(torch.get_rng_state(), random)
    assert [m.training for m in network.modules()] == modes
    assert [p.requires_grad for p in network.parameters()] == gradients
    for key, value in network.state_dict().items():
        assert torch.equal(value, state[key]), key


def test_the_dry_pass_leaves_them_when_it_fails() -> None:
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(7, 5)).eval()
    with pytest.raises(ValueError, match="does not take images"):
        adapt(network, shape=SHAPE)
    assert not network.training
    assert not network[0].running_mean.any()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


# ---------------------------------------------------------------- what it lives among


@networks
def test_frozen_teacher(make: Callable[[], nn.Module]) -> None:
    adapted = adapt(make(), shape=SHAPE)
    teacher = Frozen(adapted).train()
    x = images()
    output, own = teacher(x), adapted.eval()(x)
    assert torch.equal(output.logits, own.logits)
    for one, two in zip(output.stages, own.stages, strict=True):
        assert torch.equal(one, two)
        assert not one.requires_grad
    assert not list(teacher.parameters())
    assert held(teacher.network) == []


def loss(output: Output) -> Tensor:
    parts = [output.logits, *output.stages, *([] if output.pooled is None else [output.pooled])]
    return sum((part.square().mean() for part in parts), start=torch.zeros(()))


@networks
def test_compiled_equals_eager_in_one_graph(make: Callable[[], nn.Module], device: str) -> None:
    eager = adapt(make().to(device).double(), shape=SHAPE)
    for module in eager.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0  # a compiled dropout draws other numbers
    compiled = deepcopy(eager)
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")  # type: ignore[no-untyped-call]
    compiled.compile(fullgraph=True, dynamic=False, backend=counter)
    for _ in range(2):
        x = images(torch.float64).to(device)
        one, two = eager(x), compiled(x)
        torch.testing.assert_close(two, one, rtol=1e-10, atol=1e-10)
        loss(one).backward()
        loss(two).backward()
    assert counter.frame_count == 1
    for p, q in zip(eager.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-9, atol=1e-10)
    for key, value in eager.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[key], value)
    assert held(eager) == held(compiled) == []


@networks
def test_exported_program_gives_the_logits(make: Callable[[], nn.Module]) -> None:
    bare = make().eval()
    classifier = Classifier(adapt(deepcopy(bare), shape=SHAPE)).eval()
    batch = torch.export.Dim("batch", min=2, max=64)
    exported = torch.export.export(classifier, (images(),), dynamic_shapes=({0: batch},))
    x = images(number=7)
    torch.testing.assert_close(exported.module()(x), bare(x))


@networks
@pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning")  # the exporter's own code
def test_onnx_runtime_gives_the_logits(make: Callable[[], nn.Module], tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    bare = make().eval()
    classifier = Classifier(adapt(deepcopy(bare), shape=SHAPE)).eval()
    file = tmp_path / "network.onnx"
    torch.onnx.export(
        classifier,
        (images(),),
        file,
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    x = images(number=7)
    (logits,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), bare(x), rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- in place


def body(activation: nn.Module) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), activation, nn.Conv2d(4, 8, 3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 5),
    )  # fmt: skip


@pytest.mark.parametrize("kind", [nn.ReLU, nn.Dropout2d, nn.Hardswish])
def test_in_place_layer_after_a_stage_is_switched_off(kind: Callable[..., nn.Module]) -> None:
    """A dropout overwrites in training mode only."""
    network = body(kind(inplace=True)).double()
    twin = body(kind(inplace=False)).double()
    twin.load_state_dict(network.state_dict())
    adapted = adapt(network, stages=["0", "2"], shape=SHAPE)
    assert network[1].inplace is False
    check_same(adapted, twin, ["0", "2"])


def test_in_place_layer_that_overwrites_no_stage_is_left() -> None:
    network = body(nn.ReLU(inplace=True))
    adapt(network, stages=["1", "2"], shape=SHAPE)
    assert network[1].inplace is True


class ByCode(nn.Module):
    def __init__(self, only_training: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2, 1)
        self.fc = nn.Linear(8, 5)
        self.only_training = only_training

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.training or not self.only_training:
            x.relu_()
        return self.fc(x.mean((2, 3)))


@pytest.mark.parametrize("only_training", [False, True])
def test_in_place_code_is_refused(only_training: bool) -> None:
    with pytest.raises(ValueError, match="stage 'conv' is overwritten in place by the code after it"):
        adapt(ByCode(only_training), shape=SHAPE)
    adapt(ByCode(only_training), stages=[], shape=SHAPE)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("stages", [["layer2", "leyer3"], ["layer2", "layer3.3"], [""]])
def test_unknown_stage_names_the_three_nearest(stages: list[str]) -> None:
    with pytest.raises(ValueError, match=f"Layers has no module '{stages[-1]}' for a stage") as error:
        adapt(Layers(), stages=stages, shape=SHAPE)
    near = str(error.value).partition("the nearest are ")[2].split(", ")
    assert len(near) == 3
    assert set(near) <= {name for name, _ in Layers().named_modules()}
    if stages[-1]:
        assert any(name.startswith("layer3") for name in near)


def test_unknown_head_names_the_three_nearest() -> None:
    with pytest.raises(ValueError, match="Layers has no module 'fcc' for a head; the nearest are fc, "):
        adapt(Layers(), head="fcc", shape=SHAPE)


@pytest.mark.parametrize(("head", "given"), [("layer5", r"\(2, 8, 2, 2\)"), ("layer5.0", r"\(2, 8, 2, 2\)")])
def test_head_that_is_given_no_vector(head: str, given: str) -> None:
    with pytest.raises(
        ValueError, match=f"input of head '{head}' is a tensor {given}, not one vector an image"
    ):
        adapt(Layers(), head=head, shape=SHAPE)


def test_images_of_a_wrong_size() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Flatten(), nn.Linear(4 * 8 * 8, 5))
    said = r"Sequential does not take images of 3 x 224 x 224: mat1 and mat2.*; say which it takes: shape="
    with pytest.raises(ValueError, match=said):
        adapt(network)
    with pytest.raises(ValueError, match=r"not take images of 1 x 16 x 16: .* 3 channels"):
        adapt(network, shape=(1, 16, 16))
    assert adapt(network, shape=SHAPE)(images()).logits.shape == (4, 5)


class Auxiliary(nn.Module):
    """Returns a tuple: always, or in training only."""

    def __init__(self, always: bool) -> None:
        super().__init__()
        self.network = sequential()
        self.always = always

    def forward(self, x: Tensor) -> Any:
        x = self.network(x)
        return (x, x) if self.always or self.training else x


@pytest.mark.parametrize("always", [True, False])
def test_a_network_that_returns_a_tuple(always: bool) -> None:
    with pytest.raises(ValueError, match=r"^Auxiliary: .* got tuple; wrap the network so that"):
        adapt(Auxiliary(always), shape=SHAPE)


class Unused(nn.Module):
    """Has a module that no pass runs, or that the training pass leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 8, 3, 2, 1)
        self.never = nn.Conv2d(8, 8, 3, 2, 1)
        self.sometimes = nn.Conv2d(8, 8, 3, 2, 1)
        self.skip = False
        self.fc = nn.Linear(8, 5)
        self.other = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        if not self.training and not self.skip:
            x = self.sometimes(x)
        return self.fc(x.mean((2, 3)))


@pytest.mark.parametrize("stage", ["never", "sometimes"])
def test_a_stage_that_never_runs(stage: str) -> None:
    with pytest.raises(ValueError, match=f"stage '{stage}' never runs in a pass"):
        adapt(Unused(), stages=["body", stage], shape=SHAPE)


def test_a_head_that_never_runs() -> None:
    with pytest.raises(ValueError, match="head 'other' never runs in a pass"):
        adapt(Unused(), stages=["body"], head="other", shape=SHAPE)


def test_a_stage_that_stops_running_later() -> None:
    class Turncoat(Unused):
        def forward(self, x: Tensor) -> Tensor:
            x = self.body(x)
            return self.fc((x if self.skip else self.sometimes(x)).mean((2, 3)))

    network = Turncoat()
    adapted = adapt(network, stages=["body", "sometimes"], shape=SHAPE)
    adapted(images())
    network.skip = True
    with pytest.raises(ValueError, match="the module sometimes did not run in this pass"):
        adapted(images())


class Shared(nn.Module):
    """One convolution that runs twice, and one that has two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 2, 1)
        self.twice = nn.Conv2d(8, 8, 3, 2, 1)
        self.alias = self.first
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.twice(self.twice(self.first(x))).mean((2, 3)))


def test_a_module_that_runs_twice() -> None:
    with pytest.raises(ValueError, match="stage 'twice' runs 2 times in a pass: it is shared"):
        adapt(Shared(), stages=["first", "twice"], shape=SHAPE)


def test_two_names_of_one_module() -> None:
    with pytest.raises(ValueError, match="first, alias: two of these names are one module, shared between"):
        adapt(Shared(), stages=["first", "alias"], shape=SHAPE)
    assert adapt(Shared(), stages=["alias"], shape=SHAPE)(images()).stages[0].shape == (4, 8, 8, 8)


@pytest.mark.parametrize("stages", [["layer3", "layer2"], ["layer1", "layer3", "layer2"]])
def test_stages_whose_resolution_grows(stages: list[str]) -> None:
    message = r"resolution grows from 'layer3' \(4 x 4\) to 'layer2' \(8 x 8\)"
    with pytest.raises(ValueError, match=f"shallow to deep, but the {message}"):
        adapt(Layers(), stages=stages, shape=SHAPE)


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


@pytest.mark.parametrize(("stage", "gives"), [("1", "tuple"), ("5", r"a tensor \(2, 8\)")])
def test_a_stage_that_gives_no_map(stage: str, gives: str) -> None:
    class First(nn.Module):
        def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
            return pair[0]

    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), Pair(), First(), nn.AdaptiveAvgPool2d(1), nn.Identity(), nn.Flatten(),
        nn.Linear(8, 5),
    )  # fmt: skip
    with pytest.raises(ValueError, match=rf"stage '{stage}' gives {gives}, not a feature map \(B, C, H, W\)"):
        adapt(network, stages=["0", stage], shape=SHAPE)


@networks
def test_a_refusal_leaves_no_hooks(make: Callable[[], nn.Module]) -> None:
    network = make()
    for wrong in ({"stages": ["nothing"]}, {"head": "nothing"}, {"gates": ["nothing"]}):
        with pytest.raises(ValueError, match="'nothing'"):
            adapt(network, shape=SHAPE, **wrong)  # type: ignore[arg-type]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


# ---------------------------------------------------------------- libraries that are not there


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_a_missing_library_says_what_to_install(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=rf"{library}:NAME needs {library}; .*'cohobate\[{library}\]'"):
        build(f"{library}:resnet18", 5)


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_a_torchvision_of_another_torch_says_so(library: str, tmp_path: Path) -> None:
    for name, source in {
        "torchvision": "raise RuntimeError('operator torchvision::nms does not exist')",
        "timm": "import torchvision",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(source)
    script = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from cohobate.models.build import build
try:
    build("{library}:resnet18", 5)
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith(f"{library} cannot be imported beside torch {torch.__version__} (operator")
    assert "torchvision::nms does not exist" in done.stdout
    assert "pip install --upgrade torch torchvision" in done.stdout
