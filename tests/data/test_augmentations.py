"""A fixed number of augmented versions: what an image looks like depends on (seed, version, row) alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from cohobate.core import Batch
from cohobate.data.arrays import arrays
from cohobate.data.dataset import Dataset
from cohobate.data.folder import load_folder
from cohobate.data.loaders import TrainLoader, eval_loader, train_loader
from cohobate.data.order import TrainOrder, filled, own_seed

CPU = torch.device("cpu")
N = 12


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for k in range(N):
        file = root / "train" / "abc"[k % 3] / f"{k:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40 + k, 60, 3), np.uint8)).save(file)
    return replace(load_folder(root, image_size=72), flip=True)


@pytest.fixture(params=["memory", "files"])
def dataset(request: pytest.FixtureRequest, pictures: Dataset) -> Dataset:
    if request.param == "files":
        return pictures
    x = np.random.default_rng(0).integers(0, 256, (N, 6, 5, 3), np.uint8)
    return arrays(x, np.arange(N) % 3, crop=2, flip=True)


def train(dataset: Dataset, augmentations: int | None, **options: object) -> TrainLoader:
    given = {"batch_size": 4, "seed": 1, "device": CPU, "workers": 0} | options
    return train_loader(dataset, augmentations=augmentations, **given)


def by_row(batches: list[Batch], view: int = 0) -> dict[int, bytes]:
    """Row -> its pixels."""
    return {
        int(row): image.contiguous().numpy().tobytes()
        for batch in batches
        for row, image in zip(batch.index, batch.views[view], strict=True)
    }


def rows(batches: list[Batch]) -> list[int]:
    return torch.cat([batch.index for batch in batches]).tolist()


def equal(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a.index, b.index)
        and torch.equal(a.y, b.y)
        and all(torch.equal(*pair) for pair in zip(a.views, b.views, strict=True))
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("view", [0, 1])
def test_epochs_repeat_the_pixels_after_n_but_not_the_order(dataset: Dataset, view: int) -> None:
    second_view = "augmentation" if view else None
    epochs = [list(train(dataset, 3, second_view=second_view).epoch(e)) for e in range(7)]
    for e in range(4):
        assert by_row(epochs[e], view) == by_row(epochs[e + 3], view)
        assert rows(epochs[e]) != rows(epochs[e + 3])
    assert by_row(epochs[0], view) == by_row(epochs[6], view)
    for row in range(N):
        assert len({by_row(epochs[e], view)[row] for e in range(3)}) > 1


def test_the_order_is_that_of_epochs_without_a_number(dataset: Dataset) -> None:
    for epoch in (0, 5):
        wanted = rows(list(train(dataset, None).epoch(epoch)))
        for augmentations in (0, 1, 4):
            assert rows(list(train(dataset, augmentations).epoch(epoch))) == wanted


@pytest.mark.parametrize("second_view", [None, "augmentation"])
def test_as_many_versions_as_epochs_change_nothing(dataset: Dataset, second_view: str | None) -> None:
    for epoch in range(3):
        one, other = (
            list(train(dataset, augmentations, second_view=second_view).epoch(epoch))
            for augmentations in (None, 3)
        )
        assert equal(one, other)


def test_another_seed_has_other_versions(dataset: Dataset) -> None:
    one, other = (by_row(list(train(dataset, 1, seed=seed).epoch(0))) for seed in (1, 2))
    assert one != other


def test_the_two_views_of_an_image_differ(dataset: Dataset) -> None:
    batches = list(train(dataset, 2, second_view="augmentation").epoch(0))
    assert by_row(batches, 0) != by_row(batches, 1)


def test_a_classmate_changes_with_the_epoch_and_looks_as_its_version_does(dataset: Dataset) -> None:
    """In the second view too an image has one look a version, whoever it stands beside."""
    mates = []
    looks: list[set[bytes]] = [set(), set()]
    for epoch in range(8):
        batches = list(train(dataset, 2, second_view="classmate").epoch(epoch))
        mates.append(by_row(batches, 1))
        looks[epoch % 2] |= set(mates[-1].values())
        assert all(not torch.equal(*batch.views) for batch in batches)
    assert len({tuple(sorted(shown.items())) for shown in mates[::2]}) > 1
    assert all(len(seen) == N for seen in looks)


def test_none_augmented_is_the_image_as_in_evaluation(dataset: Dataset) -> None:
    wanted = by_row(list(eval_loader(dataset.train, dataset, device=CPU, workers=0).epoch(0)))
    for epoch in (0, 3):
        assert by_row(list(train(dataset, 0).epoch(epoch))) == wanted
    with pytest.raises(ValueError, match="augmentations 0 leaves nothing for a second view"):
        train(dataset, 0, second_view="augmentation")


@pytest.mark.parametrize("augmentations", [0, 2])
@pytest.mark.parametrize("second_view", [None, "classmate"])
def test_starting_in_the_middle_gives_the_tail(
    dataset: Dataset, augmentations: int, second_view: str | None
) -> None:
    loader = train(dataset, augmentations, accumulate=2, second_view=second_view)
    whole = list(loader.epoch(5))
    for start in (1, len(whole) - 1, len(whole)):
        assert equal(whole[start:], list(loader.epoch(5, start)))


def test_ranks_show_the_same_versions(dataset: Dataset) -> None:
    alone = by_row(list(train(dataset, 2).epoch(3)))
    shares = [by_row(list(train(dataset, 2, rank=r, world=2).epoch(3))) for r in (0, 1)]
    assert shares[0] | shares[1] == alone
    assert not shares[0].keys() & shares[1].keys()


def test_workers_change_nothing(pictures: Dataset) -> None:
    none, two = (list(train(pictures, 2, workers=workers).epoch(3)) for workers in (0, 2))
    assert equal(none, two)


def test_the_global_generator_is_left_alone(dataset: Dataset) -> None:
    before = torch.get_rng_state()
    list(train(dataset, 2).epoch(3))
    list(train(dataset, 2).in_order(1, 5))
    assert torch.equal(before, torch.get_rng_state())


# ---------------------------------------------------------------- a version in order


@pytest.mark.parametrize(("augmentations", "second_view"), [(0, None), (2, None), (2, "augmentation")])
def test_a_version_in_order_shows_what_its_epochs_show(
    dataset: Dataset, augmentations: int, second_view: str | None
) -> None:
    loader = train(dataset, augmentations, second_view=second_view)
    for epoch in range(3):
        images: dict[int, bytes] = {}
        for span, x in loader.in_order(loader.order.version(epoch), 5):
            assert x.shape[0] == 5
            assert x.is_contiguous(memory_format=torch.channels_last)
            images |= {row: x[row - span.start].contiguous().numpy().tobytes() for row in _range(span)}
        assert list(images) == list(range(N))
        assert images == by_row(list(loader.epoch(epoch)))


def test_ranks_share_a_version_out(dataset: Dataset) -> None:
    loader = train(dataset, 1)
    shares = [[span for span, _ in loader.in_order(0, 5, rank, 2)] for rank in (0, 1)]
    assert shares == [[slice(0, 5), slice(10, 12)], [slice(5, 10)]]


def test_a_short_batch_is_filled_up_with_its_last_row() -> None:
    assert filled(slice(10, 12), 5).tolist() == [10, 11, 11, 11, 11]
    assert filled(slice(0, 3), 3).tolist() == [0, 1, 2]


def test_which_version_an_epoch_shows() -> None:
    def versions(augmentations: int | None) -> list[int]:
        order = TrainOrder(8, 4, 1, 0, 0, 1, augmentations)
        return [order.version(epoch) for epoch in range(5)]

    assert versions(None) == [0, 1, 2, 3, 4]
    assert versions(0) == versions(1) == [0] * 5
    assert versions(3) == [0, 1, 2, 0, 1]
    assert [TrainOrder(8, 4, 1, 0, 0, 1, n).versions for n in (None, 0, 1, 3)] == [None, 1, 1, 3]


def test_a_negative_number_is_refused(dataset: Dataset) -> None:
    with pytest.raises(ValueError, match="augmentations must be 0 or more, or None, got -1"):
        train(dataset, -1)


def test_a_seed_of_ones_own_is_another_one_and_always_the_same() -> None:
    seeds = [own_seed(seed) for seed in range(20)]
    assert seeds == [own_seed(seed) for seed in range(20)]
    assert len({*seeds, *range(20)}) == 40
    assert min(seeds) >= 0


def _range(span: slice) -> range:
    return range(span.start, span.stop)


# ---------------------------------------------------------------- nothing has moved


def test_epochs_without_a_number_draw_what_they_drew_before() -> None:
    """Written out as the loader of images in memory drew it before there were versions."""
    x = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (N, 6, 5, 3), np.uint8))
    dataset = arrays(x, np.arange(N) % 3, crop=2, flip=True)
    key = np.random.SeedSequence((1, 7)).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(key) >> 1)
    index = torch.randperm(N, generator=generator)
    tops, lefts = torch.randint(5, (2, N), generator=generator)
    mirrored = torch.randint(2, (N,), generator=generator)
    (batch,) = train(dataset, None, batch_size=N).epoch(7)
    assert torch.equal(batch.index, index)
    mean, std = (torch.tensor(v) for v in (dataset.mean, dataset.std))
    for place in range(N):
        image = x[index[place]].flip(1) if mirrored[place] else x[index[place]]
        left = 4 - lefts[place] if mirrored[place] else lefts[place]
        expected = (_cut(image, int(tops[place]), int(left)) / 255 - mean) / std
        torch.testing.assert_close(batch.x[place].permute(1, 2, 0), expected, rtol=1e-4, atol=1e-4)


def _cut(image: Tensor, top: int, left: int) -> Tensor:
    padded = torch.zeros(10, 9, 3)
    padded[2:8, 2:7] = image.float()
    return padded[top : top + 6, left : left + 5]


def test_the_names_of_a_folder_do_not_matter_to_a_version(pictures: Dataset, tmp_path: Path) -> None:
    """Rows key the draws, so another place of the same files changes nothing."""
    moved = []
    for path in pictures.train.paths:
        target = tmp_path / f"moved-{path.name}"
        target.write_bytes(path.read_bytes())
        moved.append(target)
    other = replace(pictures, train=replace(pictures.train, paths=tuple(moved)))
    assert by_row(list(train(pictures, 2).epoch(1))) == by_row(list(train(other, 2).epoch(1)))
