"""The batched cascade against algorithm 2, image by image, and against the plain sum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pytest
import torch
from naive import softmax
from torch import Tensor, nn
from zoo import CLASSES, SIZE, HandWritten, toy, toy_adapted, toy_wide

from cohobate import Cascade, Classifier, Frozen, Output, Sum
from cohobate.core import as_output, energy, mean_energy, precise_energy

Reading = Literal["sum", "added"]
READINGS: tuple[Reading, ...] = ("sum", "added")


def images(count: int = 24, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1), dtype=dtype)


def sharpened(network: nn.Module, factor: float) -> nn.Module:
    """Predictions of which some are sure and some are not."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            module.weight.data.mul_(factor)
    return network


def chain(dtype: torch.dtype = torch.float64) -> list[nn.Module]:
    """One that returns an Output, one of the user's own, a classifier, an adapted one."""
    torch.manual_seed(0)
    networks = [toy(), HandWritten(), Classifier(toy_wide()), toy_adapted()]
    factors = (8, 8, 3, 3)
    return [sharpened(*pair).eval().to(dtype) for pair in zip(networks, factors, strict=True)]


def logits_of(network: nn.Module, x: Tensor) -> Tensor:
    return as_output(network(x)).logits


def energy_of(row: Sequence[float]) -> float:
    """Eq. 8."""
    return sum(p**2 for p in softmax(row))


def algorithm_2(
    networks: Sequence[nn.Module], x: Tensor, threshold: float, reading: Reading
) -> tuple[list[float], int, list[float]]:
    """One image, (C, H, W), as printed; also the energies that were compared."""
    total = logits_of(networks[0], x[None])[0].tolist()
    e = energy_of(total)
    energies = [e]
    i, n = 0, len(networks) - 1
    while threshold >= e and i < n:
        i += 1
        r = logits_of(networks[i], x[None])[0].tolist()
        total = [a + b for a, b in zip(total, r, strict=True)]
        e = energy_of(total) if reading == "sum" else e + energy_of(r)
        energies.append(e)
    return total, i, energies


class Counted(nn.Module):
    """Counts the images that its network sees, and keeps their memory layouts."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.seen: list[int] = []
        self.last: list[bool] = []

    def forward(self, x: Tensor) -> Output:
        self.seen.append(len(x))
        self.last.append(x.is_contiguous(memory_format=torch.channels_last))
        return as_output(self.network(x))


class Given(nn.Module):
    """A network whose logits are the images, times a factor."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


# ---------------------------------------------------------------- algorithm 2


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.45, 0.6, 0.8, 0.95, 1.0, math.inf])
@torch.no_grad()
def test_against_algorithm_2_image_by_image(threshold: float, reading: Reading) -> None:
    networks, x = chain(), images()
    cascade = Cascade(networks, threshold, energy=reading)
    logits, exits = cascade.exits(x)
    assert exits.dtype == torch.int64
    assert exits.shape == (len(x),)
    assert torch.equal(logits, cascade(x))
    for image, row, left in zip(x, logits, exits.tolist(), strict=True):
        expected, last, energies = algorithm_2(networks, image, threshold, reading)
        assert min(abs(e - threshold) for e in energies) > 1e-9
        assert left == last
        np.testing.assert_allclose(row, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("reading", READINGS)
@torch.no_grad()
def test_images_leave_at_every_exit(reading: Reading) -> None:
    """What the test above compares is no uniform answer."""
    threshold = 0.6 if reading == "sum" else 0.8
    exits = Cascade(chain(), threshold, energy=reading).exits(images(100)).exits
    assert exits.unique().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("reading", READINGS)
@torch.no_grad()
def test_one_image_at_a_time_is_the_same(reading: Reading) -> None:
    cascade, x = Cascade(chain(), 0.5, energy=reading), images()
    together = cascade.exits(x)
    alone = [cascade.exits(image) for image in x.split(1)]
    assert together.exits.tolist() == [int(one.exits) for one in alone]
    torch.testing.assert_close(together.logits, torch.cat([one.logits for one in alone]))


@torch.no_grad()
def test_in_float32_too() -> None:
    networks, x = chain(torch.float32), images(dtype=torch.float32)
    logits, exits = Cascade(networks, 0.6).exits(x)
    for image, row, left in zip(x, logits, exits.tolist(), strict=True):
        expected, last, _ = algorithm_2(networks, image, 0.6, "sum")
        assert left == last
        np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_no_image_is_no_error() -> None:
    logits, exits = Cascade(chain(), 0.5).exits(images()[:0])
    assert (logits.shape, exits.shape) == ((0, CLASSES), (0,))


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize("count", [1, 24])
@torch.no_grad()
def test_limits_are_bit_for_bit(count: int) -> None:
    networks, x = chain(torch.float32), images(count, torch.float32)
    whole = Sum(networks).eval()
    for cascade in (
        Cascade(networks, 1.0),
        Cascade(networks, math.inf),
        Cascade(networks, math.inf, energy="added"),
    ):
        assert torch.equal(cascade(x), whole(x).logits)
        assert cascade.exits(x).exits.tolist() == [3] * count
    for reading in READINGS:
        cascade = Cascade(networks, 0, energy=reading)
        assert torch.equal(cascade(x), logits_of(networks[0], x))
        assert cascade.exits(x).exits.tolist() == [0] * count


@torch.no_grad()
def test_an_energy_of_1_never_leaves_with_a_threshold_of_1() -> None:
    x = torch.eye(CLASSES) * 1000
    x = torch.cat([x, torch.tensor([[800.0, 0, 0, 0, 0], [0.1, 0.2, 700, -0.3, 0.4]])])
    assert (precise_energy(x) == 1).all()
    for part in (x, *x.split(1)):
        assert (Cascade([Given(), Given()], 1.0).exits(part).exits == 1).all()
        # Added up, the energy of an image is above 1 after two networks, not after one.
        added = Cascade([Given(), Given(), Given()], 1.0, energy="added")
        assert (added.exits(part).exits == 1).all()


@torch.no_grad()
def test_an_energy_equal_to_the_threshold_stays() -> None:
    """Strictly above: four equal logits have an energy of exactly 1/4."""
    x = torch.zeros(3, 4)
    for part in (x, x[:1]):
        assert (Cascade([Given(), Given()], 0.25).exits(part).exits == 1).all()
        assert (Cascade([Given(), Given()], math.nextafter(0.25, 0)).exits(part).exits == 0).all()


@torch.no_grad()
def test_images_of_which_a_network_is_very_sure_are_told_apart() -> None:
    """Their energies are 1 in float32; in float64 they are not."""
    x = torch.tensor([[18.0, 0, 0, 0, 0], [25.0, 0, 0, 0, 0]])
    assert (energy(x) == 1).all()
    threshold = float(precise_energy(x).mean())
    assert Cascade([Given(), Given()], threshold).exits(x).exits.tolist() == [1, 0]


# ---------------------------------------------------------------- what is computed


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@torch.no_grad()
def test_images_that_left_are_not_computed(layout: torch.memory_format) -> None:
    counted = [Counted(network) for network in chain()]
    cascade = Cascade(counted, 0.6).eval()
    exits = cascade.exits(images(100).contiguous(memory_format=layout)).exits
    on = [100, *(int((exits > i).sum()) for i in range(3))]
    assert on == sorted(on, reverse=True)
    assert len(set(on)) == 4
    assert [sum(each.seen) for each in counted] == on
    assert {last for each in counted for last in each.last} == {layout == torch.channels_last}


@torch.no_grad()
def test_a_network_that_no_image_needs_does_not_run() -> None:
    for count in (1, 5):
        counted = [Counted(network) for network in chain()]
        Cascade(counted, 0.0).eval()(images(count))
        assert [each.seen for each in counted] == [[count], [], [], []]


@torch.no_grad()
def test_images_that_all_stay_are_not_copied() -> None:
    seen: list[int] = []
    networks = chain()
    for network in networks:
        network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].data_ptr()))
    x = images()
    for cascade in (
        Cascade(networks[:2], 0.01 + float(energy_max(networks[0], x))),
        Cascade(networks[:2], 1),
    ):
        seen.clear()
        cascade(x)
        assert seen == [x.data_ptr()] * 2


def energy_max(network: nn.Module, x: Tensor) -> Tensor:
    return precise_energy(logits_of(network, x)).max()


@torch.no_grad()
def test_what_the_first_network_returned_is_left_as_it_is() -> None:
    x = torch.randn(20, 4, dtype=torch.float64) * 3
    before = x.clone()
    exits = Cascade([Given(), Given(2.0)], 0.6).exits(x).exits
    assert set(exits.tolist()) == {0, 1}
    assert torch.equal(x, before)


def test_gradients_pass_through_it() -> None:
    networks, x = chain()[:2], images().requires_grad_()
    logits, exits = Cascade(networks, 0.6).exits(x)
    logits.square().sum().backward()
    got = x.grad
    x.grad = None
    sums = torch.stack(Sum(networks).eval().prefixes(x))
    sums[exits, torch.arange(len(x))].square().sum().backward()
    assert 0 < int(exits.sum()) < len(x)
    torch.testing.assert_close(got, x.grad)


# ---------------------------------------------------------------- precision


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_half_precision_is_summed_in_float32_as_by_the_sum(dtype: torch.dtype) -> None:
    x = (torch.randn(40, CLASSES, generator=torch.Generator().manual_seed(0)) * 3).to(dtype)
    networks = [Given(), Given(0.7), Given(0.3)]
    prefixes = Sum(networks).prefixes(x)
    for threshold in (0.0, 0.8, 1.0):
        logits, exits = Cascade(networks, threshold).exits(x)
        assert logits.dtype == torch.float32
        for i, row in enumerate(logits):
            assert torch.equal(row, prefixes[exits[i]][i].float())


@torch.no_grad()
def test_under_autocast() -> None:
    networks, x = chain(torch.float32), images(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        prefixes = torch.stack([each.float() for each in Sum(networks).eval().prefixes(x)])
        cascade = Cascade(networks, 1.0)
        assert cascade(x).dtype == torch.float32
        assert torch.equal(cascade(x), prefixes[-1])
        cascade.threshold = 0.6
        logits, exits = cascade.exits(x)
    assert set(exits.tolist()) >= {0, 1}
    torch.testing.assert_close(logits, prefixes[exits, torch.arange(len(x))], rtol=0.05, atol=0.05)


@torch.no_grad()
def test_the_energy_in_float64_is_eq_8() -> None:
    logits = images().flatten(1)[:, :7].float() * 4
    expected = [energy_of(row.tolist()) for row in logits]
    np.testing.assert_allclose(precise_energy(logits), expected, rtol=1e-13)
    assert mean_energy(logits) == pytest.approx(sum(expected) / len(expected), rel=1e-13)
    with pytest.raises(ValueError, match=r"\(B, K\), got shape \(7,\)"):
        precise_energy(logits[0])


# ---------------------------------------------------------------- classes, keys, modes


def named(network: nn.Module, names: Sequence[str]) -> Classifier:
    return Classifier(network, class_names=names)


@torch.no_grad()
def test_classes_are_in_the_order_of_the_first() -> None:
    one, two, _, _ = chain()
    cascade = Cascade([named(one, "abcde"), named(two, "edcba")], 1.0)
    assert cascade.class_names == tuple("abcde")
    x = images()
    assert torch.equal(cascade(x), logits_of(one, x) + logits_of(two, x).flip(1))


def test_other_classes_are_refused() -> None:
    one, two, _, _ = chain()
    with pytest.raises(
        ValueError, match="network 2 of a Cascade has other classes than the data: z there, e here"
    ):
        Cascade([named(one, "abcde"), named(two, "abcdz")], 0.5)


def test_keys_are_those_of_the_sum() -> None:
    networks = chain()
    cascade, whole = Cascade(networks, 0.5), Sum(networks)
    assert list(cascade.state_dict()) == list(whole.state_dict())
    assert next(iter(cascade.state_dict())).startswith("networks.0.")
    cascade.load_state_dict(Sum(chain()).state_dict())


@torch.no_grad()
def test_frozen_networks_and_a_classifier_around_it() -> None:
    networks, x = chain(), images()
    plain = Cascade(networks, 0.6)
    frozen = Cascade([Frozen(network) for network in networks], 0.6).eval()
    assert torch.equal(plain(x), frozen(x))
    around = Classifier(plain, class_names="abcde")
    assert torch.equal(plain(x), around(x))
    assert list(around.state_dict()) == list(plain.state_dict())


@torch.no_grad()
def test_one_network_is_a_cascade_too() -> None:
    networks, x = chain()[:1], images()
    for threshold in (0, 0.5, math.inf):
        logits, exits = Cascade(networks, threshold).exits(x)
        assert torch.equal(logits, logits_of(networks[0], x))
        assert not exits.any()


def test_training_mode_is_refused() -> None:
    cascade = Cascade(chain(), 0.5).train()
    with pytest.raises(
        ValueError, match=r"network 1 of a Cascade is in training mode.*call \.eval\(\) first"
    ):
        cascade(images())
    cascade.eval()
    cascade.networks[2].train()
    with pytest.raises(ValueError, match="network 3 of a Cascade is in training mode"):
        cascade.exits(images())


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize("threshold", [-0.1, 1.0001, 90, math.nan, -math.inf, "0.9", None])
def test_a_threshold_that_is_none(threshold: float) -> None:
    message = rf"in \[0, 1\], or math.inf, with which no image leaves early; got {threshold!r}"
    with pytest.raises(ValueError, match=message):
        Cascade(chain(), threshold)
    cascade = Cascade(chain(), 0.5)
    with pytest.raises(ValueError, match=message):
        cascade.threshold = threshold
    assert cascade.threshold == 0.5


def test_a_threshold_of_numpy_is_one() -> None:
    assert Cascade(chain(), np.float32(0.5)).threshold == 0.5


def test_no_network() -> None:
    with pytest.raises(ValueError, match="Cascade needs at least one network"):
        Cascade([], 0.5)


def test_another_reading() -> None:
    with pytest.raises(ValueError, match="energy must be one of 'sum', 'added', got 'mean'"):
        Cascade(chain(), 0.5, energy="mean")  # type: ignore[arg-type]


@torch.no_grad()
def test_logits_of_other_shapes() -> None:
    cascade = Cascade([Given(), nn.Linear(4, 5).eval()], 1.0)
    with pytest.raises(ValueError, match=r"of a Cascade predict .* different shapes: \[\(2, 4\), \(2, 5\)\]"):
        cascade(torch.zeros(2, 4))
    for threshold in (0.5, math.inf):
        with pytest.raises(ValueError, match=r"\(B, K\), got shape \(2, 4, 3\)"):
            Cascade([Given(), Given()], threshold)(torch.zeros(2, 4, 3))
