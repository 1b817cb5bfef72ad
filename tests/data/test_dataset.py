"""Splits, held-out and limited data, and fingerprints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cohobate.data.dataset import Dataset, Files, Images, channel_statistics, fingerprint, hold_out, limit

SIZES = (10, 25, 7)


def made(sizes: tuple[int, ...] = SIZES) -> Dataset:
    y = torch.cat([torch.full((size,), k) for k, size in enumerate(sizes)])
    y = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(1))]
    x = torch.randint(
        0, 256, (len(y), 4, 5, 3), generator=torch.Generator().manual_seed(2), dtype=torch.uint8
    )
    mean, std = channel_statistics(x)
    classes = tuple("abcdefgh"[: len(sizes)])
    return Dataset("made", classes, Images(x, y), None, None, mean, std, crop=1, flip=True)


def counts(split: Images | Files) -> list[int]:
    return torch.bincount(split.y, minlength=3).tolist()


def rows_of(part: Images, whole: Images) -> list[int]:
    return [int((whole.x == x).flatten(1).all(1).nonzero()) for x in part.x]


def test_channel_statistics_equal_those_of_floats() -> None:
    x = made().train.x.double() / 255
    mean, std = channel_statistics(made().train.x)
    torch.testing.assert_close(torch.tensor(mean).double(), x.mean((0, 1, 2)), rtol=1e-6, atol=0)
    torch.testing.assert_close(
        torch.tensor(std).double(), x.flatten(0, 2).std(0, correction=0), rtol=1e-6, atol=0
    )


def test_a_channel_that_never_varies_has_std_1() -> None:
    mean, std = channel_statistics(torch.full((2, 3, 3, 3), 51, dtype=torch.uint8))
    assert mean == pytest.approx((0.2, 0.2, 0.2))
    assert std == (1.0, 1.0, 1.0)


def test_images_and_files_refuse_wrong_tensors() -> None:
    y = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"uint8 of shape \(N, H, W, C\), got torch.float32"):
        Images(torch.zeros(2, 4, 4, 3), y)
    with pytest.raises(ValueError, match=r"Images.y must be int64 of shape \(3,\)"):
        Images(torch.zeros(3, 4, 4, 3, dtype=torch.uint8), y)
    with pytest.raises(ValueError, match=r"Files.y must be int64 of shape \(2,\).*torch.int32"):
        Files((Path("a"), Path("b")), y.int(), (224, 224))


def test_image_size_is_the_height() -> None:
    assert made().shape[1] == 4
    files = Files((Path("a"),), torch.zeros(1, dtype=torch.int64), (96, 96))
    assert replace(made(), train=files).shape == (3, 96, 96)


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.3, 0.99])
def test_hold_out_takes_the_share_of_each_class_and_loses_nothing(fraction: float) -> None:
    dataset = made()
    split = hold_out(dataset, fraction, seed=3)
    assert counts(split.val) == [min(max(1, round(fraction * n)), n - 1) for n in SIZES]
    assert sorted(rows_of(split.train, dataset.train) + rows_of(split.val, dataset.train)) == list(range(42))
    assert (split.mean, split.std) == channel_statistics(split.train.x)


def test_hold_out_is_seeded() -> None:
    first, same, other = (hold_out(made(), 0.3, seed) for seed in (3, 3, 4))
    assert torch.equal(first.val.x, same.val.x)
    assert not torch.equal(first.val.x, other.val.x)


def test_hold_out_leaves_a_given_val_split_and_fraction_0_alone() -> None:
    dataset = made()
    assert hold_out(dataset, 0, seed=0) is dataset
    given = replace(dataset, val=dataset.train)
    assert hold_out(given, 0.5, seed=0) is given


def test_hold_out_of_files_keeps_the_statistics() -> None:
    y = torch.arange(3).repeat(4)
    files = Files(tuple(Path(f"{k}.png") for k in range(12)), y, (224, 224))
    split = hold_out(replace(made(), train=files), 0.25, seed=0)
    assert (len(split.train), len(split.val)) == (9, 3)
    assert set(split.train.paths) | set(split.val.paths) == set(files.paths)
    assert [int(path.stem) % 3 for path in split.val.paths] == split.val.y.tolist()
    assert split.mean == made().mean


@pytest.mark.parametrize("fraction", [-0.1, 1, 1.5])
def test_hold_out_refuses_other_fractions(fraction: float) -> None:
    with pytest.raises(ValueError, match=f"at least 0 and less than 1, got {fraction}"):
        hold_out(made(), fraction, seed=0)


def test_hold_out_refuses_a_class_with_one_image() -> None:
    # Called by --val-fraction, and from Python: each is told its own word.
    says = r"class 'b' of made has one training image.*hold out none: --val-fraction 0, in Python fraction=0$"
    with pytest.raises(ValueError, match=says):
        hold_out(made((5, 1, 5)), 0.2, seed=0)


@pytest.mark.parametrize("images", [1, 2, 10, 41, 42])
def test_limit_keeps_exactly_so_many_in_proportion(images: int) -> None:
    dataset = made()
    small = limit(dataset, images, seed=5)
    assert len(small.train) == images
    assert all(abs(kept - images * n / 42) < 1 for kept, n in zip(counts(small.train), SIZES, strict=True))
    assert len(set(rows_of(small.train, dataset.train))) == images
    assert (small.mean, small.std) == channel_statistics(small.train.x)


def test_limit_gives_the_largest_remainders_the_rest() -> None:
    # 10 of 42: 2.38, 5.95, 1.67
    assert counts(limit(made(), 10, seed=0).train) == [2, 6, 2]


@pytest.mark.parametrize("images", [0, 43])
def test_limit_refuses_more_than_there_are(images: int) -> None:
    with pytest.raises(ValueError, match=f"to {images} images: it has 42, give 1 to 42"):
        limit(made(), images, seed=0)


def test_fingerprint_changes_with_a_pixel_a_label_a_class_or_val() -> None:
    seen = {fingerprint(made())}
    assert fingerprint(made()) in seen
    pixel, label = made(), made()
    pixel.train.x[7, 1, 2, 0] ^= 1
    label.train.y[7] = (label.train.y[7] + 1) % 3
    others = [pixel, label, replace(made(), classes=("a", "b", "d")), replace(made(), val=made().train)]
    assert len(seen | {fingerprint(other) for other in others}) == 5


def test_fingerprint_of_files_goes_by_relative_path_size_and_label(tmp_path: Path) -> None:
    def at(folder: str, second: str = "b/2.png", size: int = 3, label: int = 1) -> str:
        paths = tuple(tmp_path / folder / name for name in ("a/1.png", second))
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * size)
        return fingerprint(replace(made(), train=Files(paths, torch.tensor([0, label]), (224, 224))))

    assert at("one") == at("two")
    assert len({at("one"), at("one", second="b/3.png"), at("one", size=4), at("one", label=0)}) == 4


def test_a_split_is_drawn_from_the_stream_of_numpy_that_never_changes() -> None:
    dataset = made()
    keys = np.random.RandomState(9).random_sample(len(dataset.train))
    y = dataset.train.y.numpy()
    first = [min(np.flatnonzero(y == k), key=lambda row: keys[row]) for k in range(3)]
    split = hold_out(dataset, 0.01, seed=9)
    assert rows_of(split.val, dataset.train) == sorted(first)
