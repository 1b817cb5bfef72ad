"""DDGSD: the loss against a loop, who moves whom, its second view, what a network must show."""

from __future__ import annotations

import math

import pytest
import torch
from naive import kl, softmax
from torch import Tensor
from zoo import CLASSES, batch, seeded, toy, toy_data

from cohobate.core import Batch, Classifier, Output, as_output
from cohobate.data.loaders import train_loader
from cohobate.methods.ddgsd import DDGSD, mean_distance

T = 3.0


def pairs(images: int = 16) -> Batch:
    data = batch(images, torch.float64)
    return data._replace(views=(data.x, data.x + 0.3 * data.x.flip(0)))


def method(**how: object) -> DDGSD:
    return seeded(lambda: DDGSD(toy(), **how)).double()  # type: ignore[arg-type, return-value]


class Shown(torch.nn.Module):
    """Logits and features are the pixels themselves, so that gradients can be read off the views."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, x: Tensor) -> Output:
        return Output(x.flatten(1)[:, :CLASSES] * self.scale, x.flatten(1)[:, 3:] * self.scale)


def shown() -> tuple[Batch, Tensor, Tensor]:
    data = pairs(4)
    one, two = (view.clone().requires_grad_() for view in data.views)
    return data._replace(views=(one, two)), one, two


@pytest.mark.parametrize("average", ["images", "all"])
def test_losses_against_a_loop(average: str) -> None:
    this = method(weight=0.7, mmd_weight=0.2, ce_weight=0.5, average=average).eval()
    data = pairs()
    found = this(data)
    one, two = (as_output(this.network(view)) for view in data.views)
    n = len(data.y)
    ce = both_ways = 0.0
    for b, label in enumerate(data.y.tolist()):
        p, q = one.logits[b].tolist(), two.logits[b].tolist()
        ce -= math.log(softmax(p)[label]) + math.log(softmax(q)[label])
        both_ways += T**2 * (kl(p, q, T) + kl(q, p, T))
    assert one.pooled is not None
    assert two.pooled is not None
    h, g = one.pooled.tolist(), two.pooled.tolist()
    means = [(sum(r[d] for r in h) / n, sum(r[d] for r in g) / n) for d in range(len(h[0]))]
    distance = sum((a - b) ** 2 for a, b in means)
    if average == "all":
        distance = (sum(a - b for a, b in means) / len(means)) ** 2
    assert distance > 0
    assert found["ce"].item() == pytest.approx(0.5 * ce / n, rel=1e-10)
    assert found["kl"].item() == pytest.approx(0.7 * both_ways / n, rel=1e-10)
    assert found["mmd"].item() == pytest.approx(0.2 * distance, rel=1e-8)


def test_the_distance_is_the_mmd_of_a_linear_kernel() -> None:
    """E k(h, h') + E k(g, g') - 2 E k(h, g), each over all pairs of images."""
    torch.manual_seed(0)
    h, g = torch.randn(2, 6, 3, dtype=torch.float64)
    n = 6

    def expected(one: Tensor, two: Tensor) -> float:
        return sum(float(one[i] @ two[j]) for i in range(n) for j in range(n)) / n**2

    mmd = expected(h, h) + expected(g, g) - 2 * expected(h, g)
    assert mean_distance(h, g).item() == pytest.approx(mmd, rel=1e-10)


def test_gradcheck() -> None:
    torch.manual_seed(0)
    h, g = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True).unbind()
    assert torch.autograd.gradcheck(lambda one, two: mean_distance(one, two), (h, g))
    assert torch.autograd.gradcheck(lambda one, two: mean_distance(one, two, average="all"), (h, g))
    data = pairs(3)._replace(y=torch.tensor([0, 4, 2]))
    this = DDGSD(Shown(), mmd_weight=0.3, detach=False)

    def total(one: Tensor, two: Tensor) -> Tensor:
        return torch.stack(list(this(data._replace(views=(one, two))).values())).sum()

    views = [view.clone().requires_grad_() for view in data.views]
    assert torch.autograd.gradcheck(total, views, fast_mode=True)


def test_equal_versions_have_no_distance() -> None:
    data = pairs()
    found = method()(data._replace(views=(data.x, data.x)))
    assert found["kl"].abs() < 1e-12
    assert found["mmd"].abs() < 1e-20
    different = method()(data)
    assert different["kl"] > 1e-4
    assert different["mmd"] > 1e-9


def test_who_teaches_is_a_constant_unless_told() -> None:
    """Detached, each version's gradient is KD's: T (q - p) / n, whatever the other direction says."""
    found = {}
    for detach in (True, False):
        data, one, two = shown()
        kl_term = DDGSD(Shown(), temperature=T, detach=detach)(data)["kl"]
        found[detach] = torch.autograd.grad(kl_term, [one, two])
    for own, (view, other) in enumerate((data.views, data.views[::-1])):
        q, p = (torch.softmax(v.detach().flatten(1)[:, :CLASSES] / T, dim=1) for v in (view, other))
        expected = T * (q - p) / len(q)
        torch.testing.assert_close(found[True][own].flatten(1)[:, :CLASSES], expected)
        assert not torch.allclose(found[False][own].flatten(1)[:, :CLASSES], expected, rtol=1e-2)


def test_the_features_of_both_versions_move() -> None:
    data, one, two = shown()
    of_one, of_two = torch.autograd.grad(DDGSD(Shown())(data)["mmd"], [one, two])
    assert of_one.abs().max() > 0
    torch.testing.assert_close(of_one, -of_two)


def test_one_pass_moves_the_statistics_once_and_by_both_versions() -> None:
    this = method()
    data = pairs()
    this(data)
    plain = seeded(lambda: DDGSD(toy())).double()
    plain.network(torch.cat(data.views))  # type: ignore[operator]
    for (name, one), two in zip(this.named_buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(one, two, msg=name)
        assert "num_batches" not in name or one == 1


def test_soft_labels_equal_hard_ones_where_they_say_the_same() -> None:
    data = pairs()
    soft = data._replace(y=torch.nn.functional.one_hot(data.y, CLASSES).double())
    torch.testing.assert_close(method()(data)["ce"], method()(soft)["ce"])


def test_the_second_view_is_another_augmentation_of_the_same_image() -> None:
    assert DDGSD.second_view == "augmentation"
    loader = train_loader(
        toy_data(), batch_size=16, seed=0, device=torch.device("cpu"), second_view=DDGSD.second_view
    )
    first, again = (list(loader.epoch(3)) for _ in range(2))
    for data, same in zip(first, again, strict=True):
        assert len(data.views) == 2
        assert all(torch.equal(a, b) for a, b in zip(data.views, same.views, strict=True))
        assert not torch.equal(*data.views)
        assert set(DDGSD(toy())(data)) == {"ce", "kl", "mmd"}


def test_a_network_without_pooled_features_needs_no_mmd() -> None:
    plain = Classifier(toy())
    data = pairs()._replace(views=tuple(view.float() for view in pairs().views))
    with pytest.raises(
        ValueError, match=r"DDGSD compares the features before the classifier.*or set mmd_weight to 0"
    ):
        DDGSD(plain)(data)
    assert set(DDGSD(plain, mmd_weight=0.0)(data)) == {"ce", "kl"}


def test_refusals() -> None:
    with pytest.raises(
        ValueError, match=r"DDGSD needs another augmentation of the images as Batch\.views\[1\]"
    ):
        DDGSD(toy())(batch()._replace(views=(batch().x,)))
    with pytest.raises(ValueError, match=r"got views of shapes \[\(16, 3, 8, 8\), \(8, 3, 8, 8\)\]"):
        DDGSD(toy())(batch()._replace(views=(batch().x, batch().x[:8])))
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(2, 4\) have no distance"):
        mean_distance(torch.zeros(2, 3), torch.zeros(2, 4))
    for how, said in (
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0"),
        ({"weight": -1.0}, "weight must be at least 0, got -1.0"),
        ({"mmd_weight": -2.0}, "mmd_weight must be at least 0, got -2.0"),
        ({"ce_weight": -3.0}, "ce_weight must be at least 0, got -3.0"),
        ({"average": "classes"}, "average must be one of 'images', 'all', got 'classes'"),
    ):
        with pytest.raises(ValueError, match=said):
            method(**how)
