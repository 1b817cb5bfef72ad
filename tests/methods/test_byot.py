"""BYOT: bottlenecks of any sizes, losses against a loop under every option, who learns from what, exits."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from naive import kl, softmax
from torch import Tensor, nn
from zoo import CLASSES, SIZE, batch, seeded, toy, toy_wide

from cohobate.core import IGNORED, Batch, Output, as_output
from cohobate.data.augment.labels import smooth
from cohobate.methods.byot import BETA, BYOT, hint_loss
from cohobate.methods.byot_exits import Attention, Exit, bottleneck_of, exits_of
from cohobate.models.build import build
from cohobate.models.surgery.probe import look

SHAPE = (3, SIZE, SIZE)
NETWORK_KEYS = toy().state_dict().keys()


def byot(bottleneck: Any = "dense", attention: bool = False, **how: Any) -> BYOT:
    network = toy()
    output = look(network, SHAPE).output
    exits = exits_of(output, CLASSES, bottleneck=bottleneck, attention=attention)
    return BYOT(network, exits, **how).double()


def made(**how: Any) -> tuple[BYOT, Batch]:
    return seeded(lambda: byot(**how)), batch(dtype=torch.float64)  # type: ignore[return-value]


# ---------------------------------------------------------------- bottlenecks


@pytest.mark.parametrize("kind", ["dense", "separable"])
@pytest.mark.parametrize(
    ("size", "target"),
    [((32, 32), (4, 4)), ((8, 8), (8, 8)), ((15, 15), (4, 4)), ((6, 10), (3, 5)), ((7, 7), (5, 5))],
    ids=["eighth", "same", "no whole ratio", "not square", "less than a halving"],
)
def test_a_bottleneck_reaches_the_deepest_shape(kind: Any, size: Any, target: Any) -> None:
    module = bottleneck_of(6, size, 16, target, kind)
    x = torch.randn(2, 6, *size)
    assert module(x).shape == (2, 16, *target)
    assert (module(x) >= 0).all()


@pytest.mark.parametrize("size", [(8, 8), (15, 15), (7, 7), (9, 6)])
def test_no_position_is_skipped(size: tuple[int, int]) -> None:
    module = bottleneck_of(3, size, 8, (4, 3)).eval()
    for parameter in module.parameters():
        parameter.data.abs_()
    x = torch.rand(1, 3, *size, requires_grad=True)
    module(x).sum().backward()
    assert x.grad is not None
    assert (x.grad > 0).all()


def test_bottlenecks_double_their_channels_as_stages_do() -> None:
    wide = [m.out_channels for m in bottleneck_of(16, (32, 32), 128, (4, 4), "separable") if is_pointwise(m)]
    assert wide == [16, 32, 32, 64, 64, 128]
    assert [m.out_channels for m in bottleneck_of(16, (32, 32), 128, (4, 4)) if is_conv(m)] == [32, 32, 128]


def is_conv(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d)


def is_pointwise(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)


def test_sizes_of_the_public_code() -> None:
    """ResNet-18, 100 classes: three dense bottlenecks and linear layers; the code has biases before norms."""
    output = Output(
        torch.zeros(1, 100), None, tuple(torch.zeros(1, 64 * 2**i, 32 >> i, 32 >> i) for i in range(4))
    )
    exits = exits_of(output, 100)
    norms = 2 * (128 + 128 + 512)
    expected = sum(
        c * 128 + 128 * 128 * k * k + 128 * 512 + norms + 512 * 100 + 100
        for c, k in ((64, 8), (128, 4), (256, 2))
    )
    assert sum(p.numel() for e in exits for p in e.parameters()) == expected


def test_attention_lies_between_nothing_and_all() -> None:
    x = torch.rand(2, 4, 5, 7) + 0.1
    share = Attention(4)(x) / x
    assert share.shape == x.shape
    assert 0.5 <= share.min() < share.max() < 1


def test_attention_is_the_authors() -> None:
    """A separable pair, batch norm, ReLU, twice the size, sigmoid; his ResNet-18 has three, 896 more."""
    layer = Attention(6).eval()
    for norm in layer.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, -1, 1)
            nn.init.uniform_(norm.bias, -1, 1)
    x = torch.rand(2, 6, 8, 8)
    pair, last = layer.look[:8], layer.look[8]
    gate = F.relu((pair(x) / (1 + last.eps) ** 0.5) * last.weight[:, None, None] + last.bias[:, None, None])
    gate = F.interpolate(gate, size=(8, 8), mode="bilinear", align_corners=False).sigmoid()
    torch.testing.assert_close(layer(x), x * gate)
    plain = sum(2 * (9 * c + c * c + 2 * c) for c in (64, 128, 256))
    assert sum(p.numel() for c in (64, 128, 256) for p in Attention(c).parameters()) == plain + 896


# ---------------------------------------------------------------- losses


OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "luanyunteng": {
        "alpha": 0.1,
        "beta": 1e-6,
        "scaled": True,
        "hint_at": "pooled",
        "hint": "sum",
        "deepest_weight": 0.9,
    },
    "author": {
        "beta": 0.03,
        "hint_at": "linear",
        "hint": "norm",
        "unhinted": (2,),
        "bottleneck": "separable",
        "attention": True,
    },
    "Self-KD-Lib": {
        "alpha": 1.0,
        "ce_weight": 1.0,
        "temperature": 4.0,
        "scaled": True,
        "hint": "mean",
        "beta": 0.05,
    },
}


@pytest.mark.parametrize("labels", ["ids", "ignored", "soft"])
@pytest.mark.parametrize("how", OPTIONS.values(), ids=OPTIONS.keys())
def test_losses_against_a_loop(how: dict[str, Any], labels: str) -> None:
    method, data = made(**how)
    method.eval()  # so that the parts say the same twice
    if labels == "ignored":
        data = data._replace(y=data.y.where(torch.arange(16) % 3 > 0, IGNORED))
    if labels == "soft":
        data = smooth(data, 0.1, CLASSES)
    found = method(data)

    deepest = as_output(method.network(data.x))
    shallow = [exit(stage) for exit, stage in zip(method.exits, deepest.stages, strict=False)]
    alpha, t = how.get("alpha", 0.3), how.get("temperature", 3.0)
    ce_weight = how.get("ce_weight", 1 - alpha)
    scale = t**2 if how.get("scaled") else 1.0
    kept = 16 if labels == "soft" else int((data.y != IGNORED).sum())
    ce, ce_exits, soft = 0.0, 0.0, 0.0
    for b in range(16):
        z = deepest.logits[b].tolist()
        ce += naive_ce(z, data.y[b]) / kept
        for exit in shallow:
            row = exit.logits[b].tolist()
            ce_exits += naive_ce(row, data.y[b]) / kept
            soft += scale * kl(z, row, t) / 16
    hints = 0.0
    for i, exit in enumerate(shallow):
        if i + 1 not in how.get("unhinted", ()):
            hints += naive_hint(method, how, i, exit, deepest)
    assert found["ce"].item() == pytest.approx(how.get("deepest_weight", 1.0) * ce, rel=1e-9)
    assert found["ce_exits"].item() == pytest.approx(ce_weight * ce_exits, rel=1e-9)
    assert found["kl_exits"].item() == pytest.approx(alpha * soft, rel=1e-9)
    assert found["hint_exits"].item() == pytest.approx(how.get("beta", BETA) * hints, rel=1e-9)


def naive_ce(row: list[float], y: Tensor) -> float:
    if y.is_floating_point():
        return -sum(p * math.log(q) for p, q in zip(y.tolist(), softmax(row), strict=True))
    return 0.0 if y == IGNORED else -math.log(softmax(row)[int(y)])


def naive_hint(method: BYOT, how: dict[str, Any], i: int, exit: Output, deepest: Output) -> float:
    place = how.get("hint_at", "map")
    one, two = exit.stages[0], deepest.stages[-1]
    if place != "map":
        one, two = one.mean((2, 3)), two.mean((2, 3))
    if place == "linear":
        adapter = method.adapters[i]
        assert isinstance(adapter, nn.Linear)
        one = one @ adapter.weight.T + adapter.bias
    squares = [(a - b) ** 2 for a, b in zip(one.flatten().tolist(), two.flatten().tolist(), strict=True)]
    positions = one[0, 0].numel()
    return {
        "squared": sum(squares) / (16 * positions),
        "mean": sum(squares) / len(squares),
        "sum": sum(squares),
        "norm": math.sqrt(sum(squares)),
    }[how.get("hint", "squared")]


def test_no_hint_costs_nothing() -> None:
    method, data = made(beta=0.0, hint_at="linear")
    assert "hint_exits" not in method(data)
    assert not list(method.adapters.parameters())


@pytest.mark.parametrize("reduction", ["squared", "mean", "sum", "norm"])
def test_gradcheck(reduction: Any) -> None:
    torch.manual_seed(0)
    one, two = torch.randn(2, 2, 3, 2, 2, dtype=torch.float64).unbind()
    assert torch.autograd.gradcheck(lambda f: hint_loss(f, two, reduction), (one.requires_grad_(),))
    assert hint_loss(two, two, reduction) == 0


def test_classifiers_that_agree_have_nothing_to_teach() -> None:
    method, data = made()
    for exit in method.exits:
        assert isinstance(exit, Exit)
        nn.init.zeros_(exit.classifier.weight)
        nn.init.zeros_(exit.classifier.bias)
    deepest = method.network.fc
    assert isinstance(deepest, nn.Linear)
    nn.init.zeros_(deepest.weight)
    nn.init.zeros_(deepest.bias)
    assert method(data)["kl_exits"].abs() < 1e-12


# ---------------------------------------------------------------- gradients


def learns(value: Tensor, module: nn.Module) -> bool:
    grads = torch.autograd.grad(value, list(module.parameters()), allow_unused=True, retain_graph=True)
    return any(g is not None and bool(g.abs().max() > 0) for g in grads)


@pytest.mark.parametrize("hint_at", ["map", "pooled", "linear"])
def test_who_learns_from_what(hint_at: str) -> None:
    """Shared stages, the deepest stage, its classifier, a bottleneck, its classifier."""
    method, data = made(hint_at=hint_at)
    found = method(data)
    stages, own = method.network.stages, method.network.fc
    first = method.exits[0]
    assert isinstance(stages, nn.ModuleList)
    assert isinstance(own, nn.Module)
    assert isinstance(first, Exit)
    parts = (stages[0], stages[2], own, first.bottleneck, first.classifier)
    assert {name: [learns(value, part) for part in parts] for name, value in found.items()} == {
        "ce": [True, True, True, False, False],
        "ce_exits": [True, False, False, True, True],
        "kl_exits": [True, False, False, True, True],
        "hint_exits": [True, False, False, True, False],
    }


def test_an_exit_without_a_hint_gets_none() -> None:
    method, data = made(unhinted=(2,))
    hint = method(data)["hint_exits"]
    assert [learns(hint, exit) for exit in method.exits] == [True, False]


# ---------------------------------------------------------------- predictors


def test_predictors_are_the_exits() -> None:
    method, data = made()
    method.eval()
    predictors = method.predictors()
    assert list(predictors) == ["network", "exit_1", "exit_2", "ensemble"]
    assert predictors["network"].state_dict().keys() == NETWORK_KEYS
    logits = {name: predictor(data.x) for name, predictor in predictors.items()}
    alone = [logits[name] for name in ("network", "exit_1", "exit_2")]
    torch.testing.assert_close(logits["ensemble"], sum(alone) / 3)
    assert not torch.allclose(logits["exit_1"], logits["exit_2"])
    first = method.exits[0](method.network(data.x).stages[0]).logits
    torch.testing.assert_close(logits["exit_1"], first)


def test_one_pass_for_all_readouts() -> None:
    method, data = made()
    passes = []
    method.network.register_forward_hook(lambda *_: passes.append(1))
    method.readouts(data.x)
    assert len(passes) == 1


@pytest.mark.parametrize("kind", ["dense", "separable"])
@pytest.mark.parametrize("name", ["vgg8", "resnet18_cifar", "mobilenet_v2"])
def test_networks_of_other_stages(name: str, kind: Any) -> None:
    network = build(name, CLASSES)
    exits = exits_of(look(network, (3, 32, 32)).output, CLASSES, bottleneck=kind)
    method = BYOT(network, exits)
    data = batch(4)._replace(views=(torch.randn(4, 3, 32, 32),))
    assert all(torch.isfinite(value) for value in method(data).values())


# ---------------------------------------------------------------- refusals


def test_refusals() -> None:
    for how, said in (
        ({"alpha": 1.5}, "alpha must be at most 1, got 1.5"),
        ({"beta": -1.0}, "beta must be at least 0.*, got -1.0"),
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0"),
        ({"unhinted": (3,)}, r"unhinted names exits from 1 to 2, got \(3,\)"),
        ({"ce_weight": -1.0}, "ce_weight must be at least 0.*, got -1.0"),
        ({"deepest_weight": -1.0}, "deepest_weight must be at least 0.*, got -1.0"),
        ({"hint": "max"}, "hint must be one of 'squared', 'mean', 'sum', 'norm', got 'max'"),
        ({"hint_at": "stem"}, "hint_at must be one of 'map', 'pooled', 'linear', got 'stem'"),
        ({"bottleneck": "wide"}, "bottleneck must be one of 'dense', 'separable', got 'wide'"),
    ):
        with pytest.raises(ValueError, match=said):
            byot(**how)
    with pytest.raises(ValueError, match="BYOT needs a shallow classifier"):
        BYOT(toy(), [])
    with pytest.raises(ValueError, match=r"\(4, 4\) is smaller than \(8, 8\)"):
        bottleneck_of(4, (4, 4), 8, (8, 8))
    with pytest.raises(ValueError, match="two stages or more, this one gives 0"):
        exits_of(Output(torch.zeros(1, 2)), 2)
    with pytest.raises(ValueError, match=r"BYOT: student \(2, 3\) and teacher \(2, 4\) differ"):
        hint_loss(torch.zeros(2, 3), torch.zeros(2, 4))


def test_exits_of_another_network_are_refused() -> None:
    wide = toy_wide()
    exits = exits_of(look(wide, SHAPE).output, CLASSES)
    with pytest.raises(ValueError, match="got 1 for 3 stages"):
        BYOT(wide, exits[:1])(batch())
