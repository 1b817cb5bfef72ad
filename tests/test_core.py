"""The words: batches, outputs, frozen teachers, float32 equations."""

from __future__ import annotations

from collections import OrderedDict
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from zoo import batch, toy

from cohobate.core import (
    Batch,
    Classifier,
    Frozen,
    Gate,
    Method,
    Output,
    as_output,
    cross_entropy,
    float32,
    fold,
    run,
)


def test_ids_refuses_probabilities_by_name() -> None:
    soft = Batch((torch.zeros(2, 3, 4, 4),), torch.full((2, 5), 0.2))
    with pytest.raises(ValueError, match=r"CRD needs integer labels, got probabilities of shape \(2, 5\)"):
        soft.ids("CRD")


def test_a_tuple_is_no_output() -> None:
    with pytest.raises(ValueError, match=r"returns cohobate.Output or a tensor of logits, got tuple"):
        as_output((torch.zeros(1), torch.zeros(1)))


def test_detach_reaches_every_field() -> None:
    output = toy()(batch(2).x).detach()
    tensors = [output.logits, output.pooled, *output.stages, *output.preacts]
    assert not any(t.requires_grad for t in tensors)


class TestFrozen:
    def test_is_absent_and_follows(self) -> None:
        frozen = Frozen(toy())
        assert list(frozen.parameters()) == []
        assert frozen.state_dict() == {}
        frozen.double().train()
        assert next(frozen.network.parameters()).dtype == torch.float64
        assert not frozen.network.training
        assert not frozen(batch(2, torch.float64).x).logits.requires_grad

    def test_copies_unless_told_not_to(self) -> None:
        network = toy()
        assert Frozen(network).network is not network
        assert network.training
        assert all(p.requires_grad for p in network.parameters())
        assert Frozen(network, copy=False).network is network

    def test_deepcopy_copies_the_network(self) -> None:
        frozen = Frozen(toy())
        assert deepcopy(frozen).network is not frozen.network


def test_classifier_has_the_networks_keys_even_inside_another_module() -> None:
    network = toy()
    outer = nn.ModuleDict({"a": Classifier(network)})
    assert outer.state_dict().keys() == {f"a.{k}" for k in network.state_dict()}
    other = nn.ModuleDict({"a": Classifier(toy())})
    other.load_state_dict(outer.state_dict())
    x = batch(2).x
    assert torch.equal(outer.eval()["a"](x), other.eval()["a"](x))


class TestFloat32:
    def test_autocast_is_off_inside(self) -> None:
        seen = []

        @float32
        def product(a: Tensor, *, b: Tensor) -> Tensor:
            seen.append((a.dtype, b.dtype))
            return a @ b

        a, b = torch.randn(2, 8, 8).bfloat16()
        with torch.autocast("cpu", torch.bfloat16):
            result = product(a, b=b)
        assert seen == [(torch.float32, torch.float32)]
        assert result.dtype == torch.float32
        assert torch.equal(result, a.float() @ b.float())

    def test_float64_is_untouched(self) -> None:
        same = float32(lambda a: a)
        assert same(torch.zeros(1, dtype=torch.float64)).dtype == torch.float64


class TestCrossEntropy:
    def test_ignored_positions_do_not_count(self) -> None:
        logits = torch.randn(2, 3, 4, 4, dtype=torch.float64)
        y = torch.randint(3, (2, 4, 4))
        y[0] = -100
        torch.testing.assert_close(cross_entropy(logits, y), F.cross_entropy(logits[1:], y[1:]))

    def test_nothing_left_is_zero(self) -> None:
        assert cross_entropy(torch.randn(2, 3), torch.full((2,), -100)) == 0

    def test_probabilities(self) -> None:
        logits, y = torch.randn(4, 3, dtype=torch.float64), torch.randint(3, (4,))
        soft = F.one_hot(y, 3).double()
        torch.testing.assert_close(cross_entropy(logits, soft), cross_entropy(logits, y))

    def test_gradient(self) -> None:
        logits = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda z: cross_entropy(z, torch.tensor([0, 3, -100])), (logits,))


def test_a_pass_without_tracking_leaves_every_buffer() -> None:
    network = toy().train()
    before = {k: v.clone() for k, v in network.named_buffers()}
    free = run(network, batch().x, track=False)
    assert all(torch.equal(before[k], v) for k, v in network.named_buffers())
    tracked = run(network, batch().x)
    assert torch.equal(free.logits, tracked.logits)
    assert not torch.equal(before["bn.running_mean"], network.get_buffer("bn.running_mean"))


def test_a_gate_folds_into_an_affine_layer_or_not_at_all() -> None:
    network = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 3, 1), act=nn.ReLU(), gate=Gate(affine="act")))
    with pytest.raises(ValueError, match=r"the gate gate scales 'act', which is no affine layer .* conv"):
        fold(network, {"gate": 0.5})
    network.gate.affine = "conv"
    folded = fold(network, {"gate": 0.5})
    torch.testing.assert_close(folded.conv.bias, 0.5 * network.conv.bias)
    assert folded is not network


def test_default_groups_hold_what_requires_a_gradient() -> None:
    class Half(Method):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Parameter(torch.zeros(1))
            self.b = nn.Parameter(torch.zeros(1), requires_grad=False)

    half = Half()
    assert half.groups() == {"networks": [half.a]}


def test_an_output_needs_only_logits() -> None:
    output = Output(torch.zeros(1, 2))
    assert output.pooled is None
    assert output.stages == ()
