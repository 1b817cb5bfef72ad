"""Mixup and CutMix: pixels and labels against loops over images, and who may have which labels."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from cohobate.core import Batch
from cohobate.data.augment.mixing import Mixed, box, cutmix, mixup
from cohobate.data.order import MIXING, own_draws

K, B, H, W = 5, 6, 8, 10


def batch(y: Tensor | None = None, views: int = 1) -> Batch:
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(B, H, W, 3, generator=generator, dtype=torch.float64) for _ in range(views))
    ids = torch.randint(K, (B,), generator=generator)
    images = tuple(view.permute(0, 3, 1, 2) for view in x)
    return Batch(images, ids if y is None else y, torch.arange(B), torch.tensor(0.5), torch.zeros(B, K))


def partner() -> Tensor:
    return torch.tensor([3, 5, 2, 0, 1, 4])


def one_hot(label: int) -> list[float]:
    return [float(k == label) for k in range(K)]


class Fixed:
    """The same number of batches each epoch, all of them different."""

    def __len__(self) -> int:
        return 7

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        for number in range(start, len(self)):
            generator = torch.Generator().manual_seed(100 * epoch + number)
            x = torch.randn(B, H, W, 3, generator=generator).permute(0, 3, 1, 2)
            yield Batch((x, x + 1), torch.randint(K, (B,), generator=generator), torch.arange(B))


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a.y, b.y) and all(map(torch.equal, a.views, b.views))
        for a, b in zip(one, other, strict=True)
    )


# ---------------------------------------------------------------- the functions


@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
def test_mixup_is_the_weighted_mean_of_pixels_and_labels(lam: float) -> None:
    given = batch(views=2)
    found = mixup(given, lam, partner(), K)
    for view, before in zip(found.views, given.views, strict=True):
        assert view.is_contiguous(memory_format=torch.channels_last)
        for i, j in enumerate(partner().tolist()):
            torch.testing.assert_close(view[i], lam * before[i] + (1 - lam) * before[j])
    for i, j in enumerate(partner().tolist()):
        pair = zip(one_hot(int(given.y[i])), one_hot(int(given.y[j])), strict=True)
        assert found.y[i].tolist() == pytest.approx([lam * a + (1 - lam) * b for a, b in pair])
    assert (found.index, found.taught) == (None, None)
    assert found.progress is given.progress


@pytest.mark.parametrize("centre", [(4, 5), (0, 0), (7, 9), (1, 8)])
@pytest.mark.parametrize("lam", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_cutmix_pastes_the_box_and_weighs_by_the_pixels_that_are_left(
    lam: float, centre: tuple[int, int]
) -> None:
    given = batch(views=2)
    before = [view.clone() for view in given.views]
    found = cutmix(given, lam, partner(), centre, K)
    sides = [int(size * (1 - lam) ** 0.5) for size in (H, W)]
    firsts = [middle - side // 2 for middle, side in zip(centre, sides, strict=True)]
    pasted = 0
    for row in range(H):
        for column in range(W):
            inside = all(
                first <= place < first + side
                for first, side, place in zip(firsts, sides, (row, column), strict=True)
            )
            pasted += inside
            for view, old in zip(found.views, before, strict=True):
                for i, j in enumerate(partner().tolist()):
                    assert torch.equal(view[i, :, row, column], old[j if inside else i, :, row, column])
    kept = 1 - pasted / (H * W)
    for i, j in enumerate(partner().tolist()):
        pair = zip(one_hot(int(given.y[i])), one_hot(int(given.y[j])), strict=True)
        assert found.y[i].tolist() == pytest.approx([kept * a + (1 - kept) * b for a, b in pair])
    assert all(map(torch.equal, given.views, before))
    assert all(view.is_contiguous(memory_format=torch.channels_last) for view in found.views)
    assert (found.index, found.taught) == (None, None)


def test_a_box_is_clipped_at_the_border() -> None:
    assert box(0.75, 8, 8, (4, 4)) == (2, 6, 2, 6)
    assert box(0.75, 8, 8, (0, 7)) == (0, 2, 5, 8)
    assert box(0.0, 8, 10, (4, 5)) == (0, 8, 0, 10)
    top, bottom, left, right = box(1.0, 8, 8, (3, 3))
    assert (bottom - top) * (right - left) == 0


def test_probabilities_are_mixed_as_they_are() -> None:
    y = torch.rand(B, K, dtype=torch.float64).softmax(1)
    expected = 0.3 * y + 0.7 * y[partner()]
    torch.testing.assert_close(mixup(batch(y), 0.3, partner(), K).y, expected)
    pasted = cutmix(batch(y), 1 - 0.25, partner(), (4, 5), K)
    assert box(0.75, H, W, (4, 5)) == (2, 6, 3, 8)
    torch.testing.assert_close(pasted.y, (1 - 20 / 80) * y + 20 / 80 * y[partner()])


@pytest.mark.parametrize("name", ["Mixup", "CutMix"])
def test_labels_that_cannot_be_mixed_are_refused_by_name(name: str) -> None:
    def mixed(given: Batch, lam: float = 0.5) -> Batch:
        return (
            mixup(given, lam, partner(), K) if name == "Mixup" else cutmix(given, lam, partner(), (1, 1), K)
        )

    with pytest.raises(ValueError, match=f"{name} needs a label for every image, got -100"):
        mixed(batch(torch.tensor([0, 1, -100, 2, 3, 4])))
    with pytest.raises(
        ValueError, match=rf"{name} needs one label an image, got labels of shape \(6, 8, 10\)"
    ):
        mixed(batch(torch.zeros(B, H, W, dtype=torch.int64)))
    with pytest.raises(ValueError, match=rf"lam of {name} is a share of 0 to 1, got 1.5"):
        mixed(batch(), 1.5)


def test_cutmix_needs_views_of_one_shape() -> None:
    given = batch()
    with pytest.raises(ValueError, match="CutMix needs views of one shape"):
        cutmix(given._replace(views=(given.x, given.x[:, :, :4])), 0.5, partner(), (1, 1), K)


# ---------------------------------------------------------------- the loader


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_starting_in_the_middle_gives_the_tail(kind: str) -> None:
    loader = Mixed(Fixed(), kind, K, seed=3, share=0.6)  # type: ignore[arg-type]
    whole = list(loader.epoch(2))
    assert len(loader) == len(whole) == 7
    for start in range(8):
        assert same(whole[start:], list(loader.epoch(2, start)))


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_a_batch_is_mixed_with_what_was_drawn_for_it(kind: str) -> None:
    for number, (given, found) in enumerate(
        zip(Fixed().epoch(1), Mixed(Fixed(), kind, K, seed=3, rank=1, alpha=0.4).epoch(1), strict=True)  # type: ignore[arg-type]
    ):
        draws = own_draws(MIXING, 3, 1, number, 1)
        draws.random()
        lam, order = draws.beta(0.4, 0.4), torch.from_numpy(draws.permutation(B))
        if kind == "mixup":
            expected = mixup(given, lam, order, K)
        else:
            centre = int(draws.integers(H)), int(draws.integers(W))
            expected = cutmix(given, lam, order, centre, K)
        assert same([found], [expected])


def test_seeds_epochs_numbers_and_ranks_draw_differently() -> None:
    class Same(Fixed):
        def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
            for _ in range(start, len(self)):
                yield from Fixed().epoch(0, 6)

    options = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    runs = [
        [found.x for found in Mixed(Same(), "mixup", K, seed=seed, rank=rank, alpha=1.0).epoch(epoch)]
        for seed, epoch, rank in options
    ]
    for run in runs:
        assert all(not torch.equal(*pair) for pair in pairwise(run))
    for other in runs[1:]:
        assert not torch.equal(runs[0][0], other[0])


def test_lambda_is_of_the_beta_distribution() -> None:
    """Its mean is 1/2 and its variance 1 / (4 (2 alpha + 1))."""
    for kind, given, alpha in (("mixup", None, 0.2), ("cutmix", None, 1.0), ("mixup", 4.0, 4.0)):
        loader = Mixed(Fixed(), kind, K, seed=0, alpha=given)  # type: ignore[arg-type]
        assert loader.alpha == alpha
    each = Batch((torch.ones(B, 3, H, W),), torch.arange(B))

    class Each(Fixed):
        def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
            yield from [each] * 700

    for alpha in (0.2, 1.0):
        # Whoever is not its own partner keeps lambda of its own label.
        loader = Mixed(Each(), "mixup", B, seed=0, alpha=alpha)
        drawn = [found.y.diagonal().min().item() for found in loader.epoch(0)]
        assert np.mean(drawn) == pytest.approx(0.5, abs=0.05)
        assert np.var(drawn) == pytest.approx(1 / (4 * (2 * alpha + 1)), abs=0.03)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_share_of_the_batches_is_mixed_and_all_are_alike_to_a_step(share: float) -> None:
    plain = [given for epoch in range(40) for given in Fixed().epoch(epoch)]
    found = [b for epoch in range(40) for b in Mixed(Fixed(), "mixup", K, seed=0, share=share).epoch(epoch)]
    unmixed = 0
    for before, after in zip(plain, found, strict=True):
        unmixed += torch.equal(before.x, after.x)
        assert after.y.dtype == torch.float32
        assert after.y.shape == (B, K)
        assert (after.index, after.taught) == (None, None)
        assert after.x.stride() == before.x.stride()
        torch.testing.assert_close(after.y.sum(1), torch.ones(B))
        if torch.equal(before.x, after.x):
            assert torch.equal(after.y.argmax(1), before.y)
    assert unmixed / len(plain) == pytest.approx(1 - share, abs=0.1)


def test_the_global_generators_are_left_alone() -> None:
    before, numpys = torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]
    list(Mixed(Fixed(), "cutmix", K, seed=0).epoch(0))
    assert torch.equal(before, torch.get_rng_state())
    assert numpys == np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "blend"}, r"mixing must be one of \('mixup', 'cutmix'\), got 'blend'"),
        ({"alpha": 0.0}, "mixing_alpha must be above 0, got 0.0"),
        ({"share": 1.5}, "mixing_share must be 0 to 1, got 1.5"),
    ],
)
def test_what_a_loader_refuses(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mixed(Fixed(), **{"kind": "mixup", "classes": K, "seed": 0, **options})  # type: ignore[arg-type]
