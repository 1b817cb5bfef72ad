"""What every built-in network promises, its options included."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch._inductor import config as inductor_config

from cohobate.core import Classifier, Gate, Output
from cohobate.models.backbones.mobilenet import InvertedResidual, MobileNetV2
from cohobate.models.backbones.resnet import Basic, ResNet, conv1x1
from cohobate.models.backbones.shufflenet import GroupedUnit, ShuffleNetV1
from cohobate.models.backbones.vgg import VGG
from cohobate.models.backbones.wrn import WideResNet
from cohobate.models.backbones.xception import Down, Middle, Xception
from cohobate.models.build import build
from cohobate.models.registry import names

SPECS = [*names(), "resnet20:shortcut=padding", "wrn_16_2:order=frskd", "shufflenet_v2:stem=3x3"]
CLASSES = 5

# They differ from others here in how often blocks repeat, and are compiled and exported by `-m slow`. The
# deepest, resnet110, is not among them: what depth alone may break would break there.
REPEATING = {
    *("resnet32", "resnet44", "resnet56", "resnet50c", "resnet110b", "resnet32x4", "resnet34_cifar"),
    *("wrn_40_1", "wrn_40_2", "vgg13", "vgg16", "vgg19"),
}
DISTINCT = [spec for spec in SPECS if spec not in REPEATING]


def fresh(spec: str) -> nn.Module:
    return build(spec, CLASSES).double().train()


def used(spec: str) -> nn.Module:
    """For evaluation, with running statistics that are not those of a fresh batch norm."""
    network = fresh(spec)
    with torch.no_grad():
        network(images(4))
    return network.eval()


def images(count: int = 2) -> Tensor:
    return torch.randn(count, 3, 16, 16, dtype=torch.float64)


def tensors(output: Output) -> list[Tensor]:
    assert output.pooled is not None
    assert output.preacts is not None
    return [output.logits, output.pooled, *output.stages, *output.preacts]


def compiles(eager: nn.Module, backend: str) -> None:
    """Forward and backward of a training step, in one graph: outputs, gradients and statistics."""
    compiled = deepcopy(eager)
    torch._dynamo.reset()
    counter = CompileCounterWithBackend(backend)
    compiled.compile(fullgraph=True, dynamic=False, backend=counter)
    # Two would leave a pixel each to the last batch norms, which then magnify rounding 1e8 times.
    x = images(8)
    one, two = tensors(eager(x)), tensors(compiled(x))
    weights = [torch.randn_like(t) for t in one]
    for outputs in (one, two):
        torch.stack([(w * t).sum() for w, t in zip(weights, outputs, strict=True)]).sum().backward()
    torch.testing.assert_close(two, one, rtol=1e-9, atol=1e-9)
    for (name, p), q in zip(eager.named_parameters(), compiled.parameters(), strict=True):
        assert p.grad is not None, name
        assert p.grad.isfinite().all(), name
        torch.testing.assert_close(q.grad, p.grad, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(dict(compiled.state_dict()), dict(eager.state_dict()), rtol=1e-9, atol=1e-9)
    assert counter.frame_count == 1


def aot_eager(spec: str, folder: Path) -> None:
    compiles(fresh(spec), "aot_eager")


def builds(network: nn.Module) -> None:
    """Compiled by inductor."""
    if shutil.which("g++") is None:
        pytest.skip("inductor needs a C++ compiler")
    with inductor_config.patch({"cpp.simdlen": 1}):  # kernels without vectors build in two thirds of the time
        compiles(network, "inductor")


def inductor(spec: str, folder: Path) -> None:
    builds(fresh(spec))


def state_dict(spec: str, folder: Path) -> None:
    """Through a file, into a network that was drawn differently."""
    one, two, x = used(spec), fresh(spec).eval(), images()
    torch.save(one.state_dict(), folder / "network.pt")
    assert not torch.equal(one(x).logits, two(x).logits)
    two.load_state_dict(torch.load(folder / "network.pt", weights_only=True))
    assert all(torch.equal(a, b) for a, b in zip(tensors(one(x)), tensors(two(x)), strict=True))


class Tracer(torch.fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Gate) or super().is_leaf_module(m, module_qualified_name)


def traced(spec: str, folder: Path) -> None:
    """By torch.fx, layers and gates as leaves; the graph holds for images of any size."""
    plain = used(spec)
    graph = torch.fx.GraphModule(plain, Tracer().trace(plain))
    for x in (images(), images(3)[:, :, :9, :11]):
        assert all(torch.equal(a, b) for a, b in zip(tensors(plain(x)), tensors(graph(x)), strict=True))


def onnx(spec: str, folder: Path) -> None:
    """Logits of another number of images than it was exported with, on onnxruntime."""
    import onnxruntime

    classifier = Classifier(used(spec).float()).eval()
    torch.onnx.export(
        classifier,
        (images(2).float(),),
        folder / "network.onnx",
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        input_names=["images"],
        output_names=["logits"],
        verbose=False,
        optimize=False,  # takes as long as the export, and is the library's own to test
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / "network.onnx", options)
    x = images(3).float()
    [logits] = session.run(["logits"], {"images": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), classifier(x), rtol=1e-4, atol=1e-4)


FAST: dict[Callable[[str, Path], None], Iterable[str]] = {
    aot_eager: DISTINCT,
    state_dict: SPECS,
    traced: SPECS,
    inductor: (),  # building kernels is dear: small networks of the same blocks stand for these
    onnx: DISTINCT,
}
CASES = [
    pytest.param(spec, check, id=f"{spec} {check.__name__}", marks=() if spec in fast else pytest.mark.slow)
    for check, fast in FAST.items()
    for spec in SPECS
]


# The exporter's own.
@pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec.. is deprecated:FutureWarning")
@pytest.mark.parametrize(("spec", "check"), CASES)
def test_network(spec: str, check: Callable[[str, Path], None], tmp_path: Path) -> None:
    check(spec, tmp_path)


def small_mobilenet() -> nn.Module:
    network = MobileNetV2(CLASSES)
    first = nn.Sequential(InvertedResidual(16, 8, 1, 1), InvertedResidual(8, 8, 1, 6))
    network.stages = nn.ModuleList([first, nn.Sequential(InvertedResidual(8, 8, 2, 6))])
    network.conv_last = conv1x1(8, 1280)
    return network


def small_shufflenet() -> nn.Module:
    network = ShuffleNetV1(CLASSES)
    network.stages = nn.ModuleList([nn.ModuleList([GroupedUnit(24, 48, 2), GroupedUnit(48, 48, 1)])])
    network.fc = nn.Linear(48, CLASSES)
    return network


def small_xception() -> nn.Module:
    network = Xception(CLASSES)
    network.stages = nn.ModuleList([nn.ModuleList([Down(64, 64, 64, 2), Middle(64)])])
    network.fc = nn.Linear(64, CLASSES)
    return network


# Every kind of block of a family, as few sizes as it takes: each size is a kernel of its own.
SMALL: dict[str, Callable[[], nn.Module]] = {
    "resnet": lambda: ResNet(Basic, 1, CLASSES, stem=8, widths=(8, 16)),
    "wrn": lambda: WideResNet(10, 1, CLASSES),
    "vgg": lambda: VGG((1, 1, 1, 1, 1), CLASSES),
    "mobilenet_v2": small_mobilenet,
    "shufflenet_v1": small_shufflenet,
    "xception": small_xception,
}


@pytest.mark.parametrize("family", SMALL)
def test_inductor_builds_a_small_network_of_each_family(family: str) -> None:
    builds(SMALL[family]().double().train())


def test_every_network_meets_every_check() -> None:
    assert len(SPECS) >= 31
    assert len(CASES) == 5 * len(SPECS)
    assert len({case.id for case in CASES}) == len(CASES)
    assert len(DISTINCT) == len(SPECS) - len(REPEATING) >= 19
    assert sum(not case.marks for case in CASES) == 2 * len(SPECS) + 2 * len(DISTINCT)
