"""CS-KD: the loss against a loop, a constant classmate, batch-norm statistics, how pairs are drawn."""

from __future__ import annotations

import math

import pytest
import torch
from naive import kl, softmax
from torch import Tensor
from zoo import CLASSES, SIZE, batch, seeded, toy, toy_data

from cohobate.core import Batch, as_output
from cohobate.data.arrays import arrays
from cohobate.data.loaders import train_loader
from cohobate.methods.cs_kd import CSKD

T = 4.0


def pairs() -> Batch:
    data = batch(dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    return data._replace(views=(data.x, torch.randn(data.x.shape, generator=generator, dtype=torch.float64)))


def method(**how: object) -> CSKD:
    return seeded(lambda: CSKD(toy(), **how)).double()  # type: ignore[arg-type, return-value]


def test_losses_against_a_loop() -> None:
    this = method(weight=3.0).eval()
    data = pairs()
    found = this(data)
    one, two = (as_output(this.network(view)).logits.tolist() for view in data.views)
    labels = data.y.tolist()
    ce = -sum(math.log(softmax(row)[label]) for row, label in zip(one, labels, strict=True))
    soft = sum(T**2 * kl(mate, row, T) for mate, row in zip(two, one, strict=True))
    assert set(found) == {"ce", "kl"}
    assert found["ce"].item() == pytest.approx(ce / len(labels), rel=1e-10)
    assert found["kl"].item() == pytest.approx(3 * soft / len(labels), rel=1e-10)


def test_gradcheck() -> None:
    this = method().eval()
    data = pairs()
    data = Batch((data.views[0][:2], data.views[1][:2]), data.y[:2])

    def total(x: Tensor) -> Tensor:
        return torch.stack(list(this(data._replace(views=(x, data.views[1]))).values())).sum()

    assert torch.autograd.gradcheck(total, (data.x.clone().requires_grad_(),), fast_mode=True)


@pytest.mark.parametrize("statistics", ["both", "first"])
def test_the_classmate_gets_no_gradient(statistics: str) -> None:
    data = pairs()
    x, mate = (view.clone().requires_grad_() for view in data.views)
    for term in method(statistics=statistics)(data._replace(views=(x, mate))).values():
        of_x, of_mate = torch.autograd.grad(term, [x, mate], allow_unused=True, retain_graph=True)
        assert of_mate is None
        assert of_x.abs().max() > 0


def test_the_cross_entropy_knows_nothing_of_the_classmate() -> None:
    data = pairs()
    other = data._replace(views=(data.x, data.views[1] + 1))
    one, two = method()(data), method()(other)
    assert torch.equal(one["ce"], two["ce"])
    assert not torch.allclose(one["kl"], two["kl"])


def test_no_term_between_an_image_and_itself() -> None:
    data = pairs()
    assert method()(data._replace(views=(data.x, data.x)))["kl"].abs() < 1e-12


@pytest.mark.parametrize(("statistics", "passes"), [("both", 2), ("first", 1)])
def test_which_passes_move_the_statistics(statistics: str, passes: int) -> None:
    """Also: the classmate is normalised by its own batch either way, so the terms are the same."""
    data = pairs()
    this, plain = method(statistics=statistics), method().network
    found = this(data)
    for view in data.views[:passes]:
        plain(view)
    for (name, one), two in zip(this.network.named_buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(one, two, msg=name)
        assert "num_batches" not in name or one == passes
    for name, value in method()(data).items():
        torch.testing.assert_close(value, found[name])


def test_the_classmate_is_predicted_in_training_mode() -> None:
    data = pairs()
    this = method()
    same = method().network
    one, two = (as_output(same(view)).logits for view in data.views)
    soft = sum(T**2 * kl(mate, row, T) for mate, row in zip(two.tolist(), one.tolist(), strict=True))
    assert this(data)["kl"].item() == pytest.approx(soft / len(one), rel=1e-10)


def test_soft_labels_equal_hard_ones_where_they_say_the_same() -> None:
    data = pairs()
    soft = data._replace(y=torch.nn.functional.one_hot(data.y, CLASSES).double())
    for name, value in method()(soft).items():
        torch.testing.assert_close(value, method()(data)[name])


# ---------------------------------------------------------------- pairs, through the real loader


def painted(labels: list[int]) -> dict[str, object]:
    """Images of one colour each: the colour tells the row, and no crop or flip changes it."""
    y = torch.tensor(labels)
    x = torch.arange(len(y), dtype=torch.uint8)[:, None, None, None].expand(-1, SIZE, SIZE, 3).contiguous()
    return {"dataset": arrays(x, y, val=(x, y), test=(x, y), crop=0), "y": y}


def rows_of(view: Tensor, data: dict[str, object]) -> Tensor:
    """Which image each row of a view shows."""
    dataset = data["dataset"]
    colour = view.mean(dim=(2, 3))[:, 0].double() * dataset.std[0] + dataset.mean[0]  # type: ignore[attr-defined]
    return (colour * 255).round().long()


def drawn(data: dict[str, object], seed: int, epoch: int, start: int = 0) -> list[tuple[Tensor, Tensor]]:
    loader = train_loader(
        data["dataset"],  # type: ignore[arg-type]
        batch_size=10,
        seed=seed,
        device=torch.device("cpu"),
        second_view=CSKD.second_view,
    )
    found = []
    for each in loader.epoch(epoch, start):
        first, second = (rows_of(view, data) for view in each.views)
        assert torch.equal(first, each.index)
        found.append((first, second))
    return found


def flat(found: list[tuple[Tensor, Tensor]]) -> list[tuple[int, int]]:
    return [pair for one, two in found for pair in zip(one.tolist(), two.tolist(), strict=True)]


def test_a_pair_is_two_images_of_a_class() -> None:
    data = painted([i % 7 for i in range(60)])
    y = data["y"]
    for epoch in range(3):
        for one, two in drawn(data, seed=0, epoch=epoch):
            assert torch.equal(y[one], y[two])  # type: ignore[index]
            assert not (one == two).any()


def test_pairs_follow_from_seed_and_epoch_alone() -> None:
    data = painted([i % 7 for i in range(60)])
    torch.manual_seed(1)
    one = flat(drawn(data, seed=5, epoch=2))
    torch.manual_seed(2)
    assert flat(drawn(data, seed=5, epoch=2)) == one
    assert flat(drawn(data, seed=5, epoch=2, start=4)) == one[40:]
    # The same image has another classmate in another epoch, and under another seed.
    for other in (drawn(data, seed=5, epoch=3), drawn(data, seed=6, epoch=2)):
        mates = dict(flat(other))
        assert sum(mates[row] == mate for row, mate in one) < 30


def test_an_image_alone_in_its_class_is_its_own_pair() -> None:
    data = painted([0] * 12 + [1] + [2] * 7)
    mates = dict(flat(drawn(data, seed=0, epoch=0)))
    assert mates[12] == 12
    assert sum(row == mate for row, mate in mates.items()) == 1


def test_classmates_are_drawn_evenly() -> None:
    data = painted([0] * 5 + [1] * 15)
    counts = torch.zeros(5)
    for epoch in range(400):
        counts[dict(flat(drawn(data, seed=0, epoch=epoch)))[0]] += 1
    assert counts[0] == 0
    assert (counts[1:] - 100).abs().max() < 40  # four standard deviations are 35


def test_it_runs_on_what_the_loader_gives() -> None:
    loader = train_loader(
        toy_data(), batch_size=16, seed=0, device=torch.device("cpu"), second_view=CSKD.second_view
    )
    terms = CSKD(toy())(next(iter(loader.epoch(0))))
    assert all(torch.isfinite(term) for term in terms.values())


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"CSKD needs other images of the same classes as Batch\.views\[1\]"):
        CSKD(toy())(batch()._replace(views=(batch().x,)))
    for how, said in (
        ({"temperature": -1.0}, "temperature must be above 0, got -1.0"),
        ({"weight": -1.0}, "weight must be at least 0, got -1.0"),
        ({"statistics": "second"}, "statistics must be one of 'both', 'first', got 'second'"),
    ):
        with pytest.raises(ValueError, match=said):
            method(**how)
