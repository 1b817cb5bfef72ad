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
from cohobate.models.build import build, names

SPECS = [*names(), "resnet20:shortcut=padding", "wrn_16_2:order=frskd", "shufflenet_v2:stem=3x3"]
CLASSES = 5

# Building kernels is dear: it is done for one network of each family, and for the rest by `-m slow`.
COMPILED = {"resnet8", "wrn_16_1", "vgg8", "mobilenet_v2", "shufflenet_v1", "xception"}


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


def compiles(spec: str, backend: str) -> None:
    """Forward and backward of a training step, in one graph: outputs, gradients and statistics."""
    eager = fresh(spec)
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
    compiles(spec, "aot_eager")


def inductor(spec: str, folder: Path) -> None:
    with inductor_config.patch({"cpp.simdlen": 1}):  # kernels without vectors build in two thirds of the time
        compiles(spec, "inductor")


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
    aot_eager: SPECS,
    state_dict: SPECS,
    traced: SPECS,
    inductor: COMPILED,
    onnx: SPECS,
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
    if check is inductor and shutil.which("g++") is None:
        pytest.skip("inductor needs a C++ compiler")
    check(spec, tmp_path)


def test_every_network_meets_every_check() -> None:
    assert len(CASES) == 31 * 5
    assert len({case.id for case in CASES}) == len(CASES)
    assert sum(not case.marks for case in CASES) == 31 * 4 + 6
