"""Batches: what is in them, and that nothing but (seed, epoch) decides it."""

from __future__ import annotations

import multiprocessing
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cohobate.core import Batch
from cohobate.data.arrays import arrays
from cohobate.data.dataset import Dataset, Files, Images
from cohobate.data.folder import load_folder
from cohobate.data.loaders import Loader, eval_loader, train_loader
from cohobate.data.order import EvalOrder, TrainOrder, classmates
from cohobate.data.views import central_box, random_box
from cohobate.data.workers import Job, Reader

CPU = torch.device("cpu")
H, W = 6, 5


def made(n: int = 32, crop: int = 2, flip: bool = True) -> Dataset:
    x = np.random.default_rng(0).integers(0, 256, (n, H, W, 3), np.uint8)
    return arrays(x, np.arange(n) % 4, crop=crop, flip=flip)


def train(dataset: Dataset, **options: object) -> Loader:
    return train_loader(dataset, **{"batch_size": 8, "seed": 1, "device": CPU, "workers": 0} | options)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for k in range(12):
        file = root / "train" / "abc"[k % 3] / f"{k:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40 + k, 60, 3), np.uint8)).save(file)
    return replace(load_folder(root, image_size=72), flip=True)


def equal(one: list[Batch], other: list[Batch]) -> bool:
    flat = [[(*batch.views, batch.y, batch.index) for batch in batches] for batches in (one, other)]
    return len(one) == len(other) and all(
        len(a) == len(b) and all(map(torch.equal, a, b)) for a, b in zip(*flat, strict=True)
    )


def pixels(x: torch.Tensor, dataset: Dataset) -> np.ndarray:
    """Normalisation undone, one image and one channel at a time."""
    out = np.empty((len(x), *x.shape[2:], 3))
    for image in range(len(x)):
        for c in range(3):
            out[image, :, :, c] = (x[image, c].double() * dataset.std[c] + dataset.mean[c]) * 255
    assert np.abs(out - out.round()).max() < 1e-3
    return out.round().astype(np.uint8)


def crops_of(image: np.ndarray, crop: int, flip: bool) -> dict[bytes, tuple[int, int, bool]]:
    """Every crop of a zero-padded image and its mirror image."""
    padded = np.zeros((H + 2 * crop, W + 2 * crop, 3), np.uint8)
    padded[crop : crop + H, crop : crop + W] = image
    found = {}
    for top in range(2 * crop + 1):
        for left in range(2 * crop + 1):
            cut = padded[top : top + H, left : left + W]
            found[cut.tobytes()] = (top, left, False)
            if flip:
                found[cut[:, ::-1].tobytes()] = (top, left, True)
    return found


# ---------------------------------------------------------------- images in memory


@pytest.mark.parametrize("crop", [0, 2])
@pytest.mark.parametrize("flip", [False, True])
def test_crops_and_flips_are_those_of_the_padded_image_and_all_of_them_occur(crop: int, flip: bool) -> None:
    dataset = made(crop=crop, flip=flip)
    known = [crops_of(image.numpy(), crop, flip) for image in dataset.train.x]
    seen = set()
    for epoch in range(40):
        for batch in train(dataset, batch_size=32).epoch(epoch):
            for row, image in zip(batch.index.tolist(), pixels(batch.x, dataset), strict=True):
                seen.add(known[row][image.tobytes()])
    assert len(seen) == (2 * crop + 1) ** 2 * (2 if flip else 1)


def test_batches_are_float_channels_last_and_carry_labels_and_rows() -> None:
    dataset = made()
    batches = list(train(dataset).epoch(0))
    for batch in batches:
        assert (batch.x.dtype, batch.x.shape, batch.progress) == (torch.float32, (8, 3, H, W), None)
        assert batch.x.is_contiguous(memory_format=torch.channels_last)
        assert batch.index.dtype == torch.int64
        assert torch.equal(batch.y, dataset.train.y[batch.index])
    assert sorted(torch.cat([batch.index for batch in batches]).tolist()) == list(range(32))


def test_images_are_normalised_by_mean_and_std() -> None:
    dataset = made(crop=0, flip=False)
    (batch,) = eval_loader(dataset.train, dataset, device=CPU).epoch(0)
    mean, std = torch.tensor(dataset.mean), torch.tensor(dataset.std)
    expected = torch.stack([((image / 255 - mean) / std).permute(2, 0, 1) for image in dataset.train.x])
    torch.testing.assert_close(batch.x, expected, rtol=1e-5, atol=1e-5)


def test_epochs_and_seeds_differ_and_repeat() -> None:
    dataset = made()
    runs = [list(train(dataset, seed=s).epoch(e)) for s, e in [(1, 0), (1, 1), (2, 0), (1, 0)]]
    assert equal(runs[0], runs[3])
    assert not any(equal(runs[0], run) for run in runs[1:3])


def test_the_global_generator_is_left_alone(pictures: Dataset) -> None:
    before = torch.get_rng_state()
    for dataset in (made(), pictures):
        list(train(dataset).epoch(0))
    assert torch.equal(before, torch.get_rng_state())


def test_the_last_incomplete_batch_is_dropped() -> None:
    loader = train(made(30), batch_size=8, accumulate=2)
    batches = list(loader.epoch(0))
    assert len(loader) == len(batches) == 6
    assert {len(batch.y) for batch in batches} == {4}


def test_accumulation_cuts_the_same_batches() -> None:
    whole = list(train(made()).epoch(3))
    parts = list(train(made(), accumulate=2).epoch(3))
    joined = [torch.cat([a.x, b.x]) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    assert all(torch.equal(batch.x, x) for batch, x in zip(whole, joined, strict=True))


# ---------------------------------------------------------------- both kinds


@pytest.fixture(params=["memory", "files"])
def dataset(request: pytest.FixtureRequest, pictures: Dataset) -> Dataset:
    return made() if request.param == "memory" else pictures


@pytest.mark.parametrize("second_view", [None, "augmentation", "classmate"])
def test_starting_in_the_middle_gives_the_tail(dataset: Dataset, second_view: str | None) -> None:
    loader = train(dataset, batch_size=4, accumulate=2, second_view=second_view)
    whole = list(loader.epoch(2))
    for start in (0, 1, len(whole) - 1, len(whole)):
        assert equal(whole[start:], list(loader.epoch(2, start)))


@pytest.mark.parametrize("start", [-1, 9])
def test_a_start_beyond_the_epoch_is_refused(start: int) -> None:
    with pytest.raises(ValueError, match=f"start must be 0 to 4, .* got {start}"):
        next(train(made()).epoch(0, start))


def test_two_ranks_share_each_batch(dataset: Dataset) -> None:
    options = {"batch_size": 4, "second_view": "classmate"}
    alone = train(dataset, **options).epoch(1)
    pair = zip(*(train(dataset, world=2, rank=r, **options).epoch(1) for r in (0, 1)), strict=True)
    joined = [
        Batch(
            tuple(torch.cat(v) for v in zip(a.views, b.views, strict=True)),
            torch.cat([a.y, b.y]),
            torch.cat([a.index, b.index]),
        )
        for a, b in pair
    ]
    assert equal(list(alone), joined)


def test_evaluation_yields_everything_in_order(dataset: Dataset) -> None:
    loader = eval_loader(dataset.train, dataset, batch_size=5, device=CPU, workers=0)
    batches = list(loader.epoch(0))
    n = len(dataset.train)
    assert torch.cat([batch.index for batch in batches]).tolist() == list(range(n))
    assert torch.equal(torch.cat([batch.y for batch in batches]), dataset.train.y)
    assert [len(batch.y) for batch in batches] == [5] * (n // 5) + [n % 5]
    assert len(loader) == len(batches)
    assert equal(batches[1:], list(loader.epoch(7, 1)))


def test_evaluation_deals_the_batches_to_the_ranks(dataset: Dataset) -> None:
    def batches(rank: int, world: int) -> list[Batch]:
        loader = eval_loader(
            dataset.train, dataset, batch_size=5, device=CPU, rank=rank, world=world, workers=0
        )
        found = list(loader.epoch(0))
        assert len(loader) == len(found)
        return found

    whole = batches(0, 1)
    for rank in range(3):
        assert equal(whole[rank::3], batches(rank, 3))


# ---------------------------------------------------------------- second views


def test_a_second_augmentation_shows_the_same_images_otherwise() -> None:
    dataset = made()
    known = [crops_of(image.numpy(), 2, True) for image in dataset.train.x]
    for batch in train(dataset, second_view="augmentation").epoch(0):
        first, second = (pixels(view, dataset) for view in batch.views)
        assert not np.array_equal(first, second)
        for row, image in zip(batch.index.tolist(), second, strict=True):
            assert image.tobytes() in known[row]


def test_a_classmate_is_another_image_of_the_class() -> None:
    dataset = made(crop=0, flip=False)
    rows = {image.numpy().tobytes(): row for row, image in enumerate(dataset.train.x)}
    for batch in train(dataset, second_view="classmate").epoch(0):
        mates = torch.tensor([rows[image.tobytes()] for image in pixels(batch.views[1], dataset)])
        assert torch.equal(dataset.train.y[mates], batch.y)
        assert bool((mates != batch.index).all())


def test_the_second_view_does_not_change_the_first(dataset: Dataset) -> None:
    runs = [
        list(train(dataset, batch_size=4, second_view=v).epoch(0))
        for v in (None, "augmentation", "classmate")
    ]
    for batches in zip(*runs, strict=True):
        assert [len(batch.views) for batch in batches] == [1, 2, 2]
        assert all(torch.equal(batches[0].x, batch.x) for batch in batches)


def test_classmates_are_chosen_evenly_and_a_lonely_image_is_its_own() -> None:
    y = torch.tensor([2, 0, 2, 5, 2, 0, 2])
    mates = classmates(y, torch.arange(7).repeat(3000), torch.Generator().manual_seed(0)).view(3000, 7)
    assert set(mates[:, 3].tolist()) == {3}
    assert set(mates[:, 1].tolist()) == {5}
    share = torch.bincount(mates[:, 2], minlength=7) / 3000
    torch.testing.assert_close(share[[0, 4, 6]], torch.full((3,), 1 / 3), rtol=0, atol=0.05)
    assert share[[1, 2, 3, 5]].sum() == 0


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("second_view", [None, "classmate"])
def test_workers_change_nothing(pictures: Dataset, second_view: str | None) -> None:
    none, two = (
        list(train(pictures, batch_size=4, workers=workers, second_view=second_view).epoch(0))
        for workers in (0, 2)
    )
    assert equal(none, two)
    assert not multiprocessing.active_children()


def test_workers_end_when_an_epoch_is_left_early(pictures: Dataset) -> None:
    batches = train(pictures, batch_size=4, workers=2).epoch(0)
    next(batches)
    batches.close()
    assert not multiprocessing.active_children()


def test_a_reader_can_be_sent_to_a_spawned_worker(pictures: Dataset) -> None:
    reader = Reader(pictures.train, True, (1, 0))
    job = Job((3, 3), (3, 6))
    sent_reader, sent_job = pickle.loads(pickle.dumps((reader, job)))
    assert torch.equal(reader[job], sent_reader[sent_job])
    assert reader[job].shape == (2, 72, 72, 3)


def test_files_are_evaluated_at_their_centre(pictures: Dataset) -> None:
    (batch,) = eval_loader(pictures.train, pictures, device=CPU, workers=0).epoch(0)
    assert batch.x.is_contiguous(memory_format=torch.channels_last)
    path = pictures.train.paths[2]
    picture = Image.open(path)
    side = round(72 * 256 / 224)  # 82
    width = round(picture.width * side / picture.height)
    picture = picture.resize((width, side), Image.Resampling.BILINEAR)
    left, top = (width - 72) // 2, (side - 72) // 2
    expected = np.asarray(picture)[top : top + 72, left : left + 72]
    assert np.array_equal(pixels(batch.x[2:3], pictures)[0], expected)


def test_files_are_mirrored_only_where_that_keeps_the_label(tmp_path: Path) -> None:
    """The left half is dark, so the darker side tells."""
    file = tmp_path / "half.png"
    Image.fromarray(np.repeat(np.arange(0, 240, 4, np.uint8)[None, :, None], 60, 0).repeat(3, 2)).save(file)
    files = Files((file,) * 40, torch.zeros(40, dtype=torch.int64), (16, 16))
    for flip in (False, True):
        (batch,) = train(replace(made(), train=files, flip=flip), batch_size=40).epoch(0)
        mirrored = batch.x[:, 0, :, 0].mean(1) > batch.x[:, 0, :, -1].mean(1)
        assert 8 < int(mirrored.sum()) < 32 if flip else not mirrored.any()


def test_a_broken_file_is_named_through_a_worker(pictures: Dataset, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    files = Files((tmp_path / "broken.png",) * 4, torch.zeros(4, dtype=torch.int64), (72, 72))
    with pytest.raises(ValueError, match=r"broken.png cannot be decoded"):
        list(train(replace(pictures, train=files), batch_size=4, workers=1).epoch(0))
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(("width", "height"), [(60, 40), (7, 500), (500, 7), (1, 1)])
def test_random_boxes_stay_inside_and_within_their_bounds(width: int, height: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        left, top, right, bottom = random_box(width, height, rng)
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        w, h = right - left, bottom - top
        # A long strip holds no box of 8 percent; there the largest central one is taken.
        assert w * h >= 0.08 * width * height - (w + h) / 2 or min(w, h) == 7
        # Half a pixel on each side is what rounding may do to the ratio.
        assert (w - 0.5) / (h + 0.5) <= 4 / 3 + 1e-9
        assert (w + 0.5) / (h - 0.5) >= 3 / 4 - 1e-9
    assert central_box(10, 7, 4, 3) == (3, 2, 7, 5)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"batch_size": 33},
            r"^batch_size 33 exceeds the 32 training images; give 32 or less \(--batch-size 32\)$",
        ),
        # A batch is a multiple of the parts that share it.
        ({"batch_size": 40, "accumulate": 5, "world": 2}, r"give 30 or less \(--batch-size 30\)$"),
        (
            {"batch_size": 40, "accumulate": 40},
            r"a batch is shared by 40 \(accumulate x world\); give more images, or fewer parts$",
        ),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        (
            {"batch_size": 8, "accumulate": 3},
            "batch_size 8 cannot be shared evenly by accumulate 3 x world 1",
        ),
        ({"batch_size": 8, "accumulate": 4, "world": 4}, "give a multiple of 16"),
        ({"accumulate": 0}, "accumulate must be at least 1, got 0"),
        ({"rank": 2, "world": 2}, "got rank 2 of world 2"),
        ({"seed": -1}, "seed must be 0 or more, got -1"),
        ({"second_view": "mirror"}, "'augmentation', 'classmate'.*, got 'mirror'"),
    ],
)
def test_train_loader_refuses(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train(made(), **options)


def test_eval_loader_refuses() -> None:
    dataset = made()
    with pytest.raises(ValueError, match="got rank -1 of world 1"):
        eval_loader(dataset.train, dataset, device=CPU, rank=-1)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        eval_loader(dataset.train, dataset, device=CPU, batch_size=0)


def test_no_rank_gets_a_batch_that_is_not_there() -> None:
    assert [len(EvalOrder(7, 5, rank, 3)) for rank in range(3)] == [1, 1, 0]
    assert len(TrainOrder(7, 7, 1, 0, 0, 1)) == 1
    empty = Images(torch.zeros(0, H, W, 3, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64))
    assert list(eval_loader(empty, made(), device=CPU).epoch(0)) == []
