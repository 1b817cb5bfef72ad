"""Sums of networks (ResKD, eq. 5), and the energy of predictions (eqs. 8 and 9), against loops."""

from __future__ import annotations

import pytest
import torch
from naive import softmax
from torch import Tensor, nn
from zoo import CLASSES, batch, toy, toy_wide

from cohobate.core import Classifier, Frozen, Output, Sum, as_output, energy, mean_energy, running_sums


def plain(classes: int = CLASSES) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(192, classes))


def naive_sums(logits: list[list[list[float]]]) -> list[list[list[float]]]:
    """S_i(x) = S_0(x) + R_1(x) + ... + R_i(x) of each image x."""
    sums = []
    for last in range(len(logits)):
        rows = []
        for image in range(len(logits[0])):
            row = []
            for k in range(len(logits[0][0])):
                value = logits[0][image][k]
                for r in range(1, last + 1):
                    value += logits[r][image][k]
                row.append(value)
            rows.append(row)
        sums.append(rows)
    return sums


class TestSum:
    def test_is_the_naive_one_to_the_bit(self) -> None:
        networks = [toy().double().eval(), plain().double(), toy_wide().double().eval()]
        x = batch(6, torch.float64).x
        with torch.no_grad():
            own = [as_output(network(x)) for network in networks]
            expected = naive_sums([output.logits.tolist() for output in own])
            whole = Sum(networks)
            output = whole(x)
            assert output.logits.tolist() == expected[-1]
            assert [prefix.tolist() for prefix in whole.prefixes(x)] == expected
            assert [s.tolist() for s in running_sums([o.logits for o in own])] == expected
        # Features are the first network's.
        assert torch.equal(output.pooled, own[0].pooled)
        assert all(torch.equal(a, b) for a, b in zip(output.stages, own[0].stages, strict=True))

    def test_a_shorter_sum_has_the_bits_of_the_prefix(self) -> None:
        networks = [toy().eval() for _ in range(4)]
        x = batch(16).x
        with torch.no_grad():
            prefixes = Sum(networks).prefixes(x)
            assert len(prefixes) == 4
            for count, prefix in enumerate(prefixes, 1):
                assert torch.equal(as_output(Sum(networks[:count])(x)).logits, prefix)
            assert torch.equal(prefixes[0], networks[0](x).logits)

    def test_half_precision_is_added_in_float32(self) -> None:
        late = torch.tensor([[1.0, 2.0**-9]]).bfloat16()
        half = [torch.tensor([[256.0, 1.0]]).bfloat16(), late, late]
        with torch.autocast("cpu", torch.bfloat16):
            sums = running_sums(half)
        assert [s.dtype for s in sums[1:]] == [torch.float32] * 2
        # In bfloat16, 256 + 1 is 256.
        assert sums[-1].tolist() == [[258.0, 1 + 2.0**-8]]

    def test_under_autocast_only_the_networks_are_rounded(self) -> None:
        networks = [toy().eval(), toy().eval()]
        x = batch(8).x
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            own = [network(x).logits for network in networks]
            found = as_output(Sum(networks)(x)).logits
        assert own[0].dtype == torch.bfloat16
        assert found.dtype == torch.float32
        assert torch.equal(found, own[0].float() + own[1].float())

    def test_every_network_learns(self) -> None:
        networks = [plain(), plain()]
        Sum(networks)(batch(4).x).logits.sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for n in networks for p in n.parameters())

    def test_classes_are_put_in_the_order_of_the_first(self) -> None:
        one = Classifier(plain(3), class_names=("cat", "dog", "fish"))
        two = Classifier(plain(3), class_names=("fish", "cat", "dog"))
        x = batch(4).x
        whole = Sum([one, two])
        assert whole.class_names == ("cat", "dog", "fish")
        assert torch.equal(whole(x).logits, one(x) + two(x)[:, [1, 2, 0]])

    def test_its_keys_are_those_of_its_networks(self) -> None:
        whole = Sum([Classifier(toy()), toy_wide()])
        expected = {f"networks.0.{key}" for key in toy().state_dict()}
        expected |= {f"networks.1.{key}" for key in toy_wide().state_dict()}
        assert whole.state_dict().keys() == expected

    def test_frozen_it_is_a_teacher(self) -> None:
        whole = Sum([toy(), toy()])
        teacher = Frozen(whole)
        assert torch.equal(teacher(batch(4).x).logits, as_output(whole.eval()(batch(4).x)).logits)

    def test_no_network_other_classes_other_shapes(self) -> None:
        with pytest.raises(ValueError, match="Sum needs at least one network"):
            Sum([])
        with pytest.raises(ValueError, match=r"logits of different shapes: \[\(4, 5\), \(4, 7\)\]"):
            Sum([plain(), plain(7)])(batch(4).x)
        with pytest.raises(ValueError, match=r"logits of different shapes: \[\(4, 5\), \(4, 7\)\]"):
            Sum([plain(), plain(7)]).prefixes(batch(4).x)
        with pytest.raises(ValueError, match=r"\[\(4, 5\), \(1, 5\)\]"):
            running_sums([torch.zeros(4, 5), torch.zeros(1, 5)])
        names = [("cat", "dog", "fish"), ("cat", "dog", "cow")]
        with pytest.raises(ValueError, match="network 2 of a Sum has other classes"):
            Sum([Classifier(plain(3), class_names=n) for n in names])


def naive_energy(rows: list[list[float]]) -> list[float]:
    return [sum(p**2 for p in softmax(row)) for row in rows]


class TestEnergy:
    def test_is_the_naive_one(self) -> None:
        logits = 3 * torch.randn(7, CLASSES, dtype=torch.float64)
        expected = naive_energy(logits.tolist())
        torch.testing.assert_close(energy(logits).tolist(), expected, rtol=1e-12, atol=0)
        assert mean_energy(logits) == pytest.approx(sum(expected) / 7, rel=1e-12)

    def test_lies_between_1_over_k_and_1(self) -> None:
        torch.testing.assert_close(energy(torch.zeros(2, 8)), torch.full((2,), 1 / 8))
        assert energy(torch.tensor([[1000.0, 0.0], [0.0, -1000.0]])).tolist() == [1, 1]
        sure = energy(torch.randn(5000, 10) * 20)
        assert sure.max() <= 1
        assert sure.min() >= 0.1

    def test_gradient(self) -> None:
        assert torch.autograd.gradcheck(energy, torch.randn(4, CLASSES, dtype=torch.float64).requires_grad_())

    def test_of_half_precision_is_in_float32(self) -> None:
        logits = torch.randn(6, CLASSES).bfloat16()
        with torch.autocast("cpu", torch.bfloat16):
            found = energy(logits)
        assert found.dtype == torch.float32
        assert torch.equal(found, energy(logits.float()))

    def test_the_mean_is_taken_in_float64(self) -> None:
        logits = torch.randn(1000, CLASSES)
        assert mean_energy(logits) == float(energy(logits.double()).mean())
        assert mean_energy(logits) == pytest.approx(sum(naive_energy(logits.tolist())) / 1000, rel=1e-12)

    @pytest.mark.parametrize("shape", [(5,), (2, 5, 3, 3)])
    def test_of_other_shapes_is_refused(self, shape: tuple[int, ...]) -> None:
        for function in (energy, mean_energy):
            with pytest.raises(ValueError, match=r"\(B, K\), got shape \(" + str(shape[0])):
                function(torch.zeros(shape))  # type: ignore[operator]

    def test_of_no_image_is_refused(self) -> None:
        with pytest.raises(ValueError, match="D_v needs one image or more"):
            mean_energy(torch.zeros(0, 5))


def test_a_sum_returns_an_output() -> None:
    found = Sum([plain()])(batch(4).x)
    assert isinstance(found, Output)
    assert isinstance(found.logits, Tensor)
    assert found.pooled is None
