"""Images without labels: found by name or anywhere below a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cohobate.core import IGNORED
from cohobate.data.arrays import arrays
from cohobate.data.dataset import Dataset, Files, Images, Split, fingerprint
from cohobate.data.sources import load_data
from cohobate.data.unlabelled import fitting
from cohobate.data.unlabelled import unlabelled as unlabelled_and_notes


def made(side: int = 8, width: int | None = None) -> Dataset:
    x = np.random.default_rng(1).integers(0, 256, (6, side, width or side, 3), np.uint8)
    return arrays(x, np.arange(6) % 2, crop=1)


def picture(path: Path, grey: int, size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (grey, grey, grey)).save(path)


def unlabelled(spec: str, root: Path, like: Dataset) -> Split:
    split, _ = unlabelled_and_notes(spec, root, like)
    return split


def pixels(split: object) -> torch.Tensor:
    assert isinstance(split, Images)
    return split.x


def greys(split: object) -> list[int]:
    assert isinstance(split, Images)
    return split.x[:, 0, 0, 0].tolist()


def test_a_name_gives_its_training_images_without_labels(tmp_path: Path) -> None:
    split = unlabelled("digits", tmp_path, made())
    train = load_data("digits", tmp_path).train
    assert isinstance(split, Images)
    assert isinstance(train, Images)
    assert torch.equal(split.x, train.x)
    assert split.y.unique().tolist() == [IGNORED]
    assert split.y.dtype == torch.int64


def test_images_are_found_flat_and_nested_in_a_fixed_order(tmp_path: Path) -> None:
    picture(tmp_path / "b.png", 20)
    picture(tmp_path / "a" / "z" / "one.PNG", 11)
    picture(tmp_path / "a" / "two.bmp", 10)
    picture(tmp_path / ".hidden" / "no.png", 99)
    (tmp_path / "notes.txt").write_text("no image")
    split = unlabelled(str(tmp_path), tmp_path, made())
    assert greys(split) == [10, 11, 20]
    assert split.y.tolist() == [IGNORED] * 3


def test_only_what_is_for_training_is_taken_where_a_folder_says_so(tmp_path: Path) -> None:
    for part, grey in (("train", 10), ("val", 20), ("test", 30)):
        picture(tmp_path / part / "class" / "x.png", grey)
    assert greys(unlabelled(str(tmp_path), tmp_path, made())) == [10]


def test_images_of_a_folder_are_brought_to_the_size(tmp_path: Path) -> None:
    picture(tmp_path / "x.png", 10, size=(50, 70))
    small = unlabelled(str(tmp_path), tmp_path, made(side=8))
    assert isinstance(small, Images)
    assert small.x.shape == (1, 8, 8, 3)
    large = unlabelled(str(tmp_path), tmp_path, made(side=72))
    assert isinstance(large, Files)
    wide = unlabelled(str(tmp_path), tmp_path, made(side=8, width=5))
    assert isinstance(wide, Images)
    assert wide.shape == (3, 8, 5)
    assert (large.size, large.paths) == ((72, 72), (tmp_path / "x.png",))


def test_a_link_that_leaves_the_folder_is_refused_and_one_to_a_folder_in_it_not_followed(
    tmp_path: Path,
) -> None:
    root = tmp_path / "root"
    picture(root / "in" / "x.png", 10)
    (root / "again").symlink_to(root / "in", target_is_directory=True)
    (root / "in" / "up").symlink_to(root, target_is_directory=True)
    assert greys(unlabelled(str(root), tmp_path, made())) == [10]
    picture(tmp_path / "outside" / "y.png", 20)
    (root / "away").symlink_to(tmp_path / "outside", target_is_directory=True)
    with pytest.raises(ValueError, match="away is a link that leaves"):
        unlabelled(str(root), tmp_path, made())


def test_nothing_found_names_the_folder_and_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty has no image in it or below it; looked for \.jpg, .*\.ppm"):
        unlabelled(str(tmp_path / "empty"), tmp_path, made())
    with pytest.raises(FileNotFoundError, match="no folder"):
        unlabelled(str(tmp_path / "missing"), tmp_path, made())
    with pytest.raises(ValueError, match="unknown data set 'cifar'; the names are"):
        unlabelled("cifar", tmp_path, made())


def test_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"images of digits are 8 x 8, those of arrays 9 x 9; give a folder"):
        unlabelled("digits", tmp_path, made(side=9))
    with pytest.raises(ValueError, match=r"images of digits are 8 x 8, those of arrays 6 x 9; give a folder"):
        unlabelled("digits", tmp_path, made(side=6, width=9))
    with pytest.raises(ValueError, match=r"the unlabelled images are 6 x 6, those of arrays 8 x 8"):
        fitting(made(side=6).train, made())


def test_larger_images_in_memory_are_averaged_over_areas(tmp_path: Path) -> None:
    split, notes = unlabelled_and_notes("digits", tmp_path, made(side=4))
    assert isinstance(split, Images)
    x = pixels(load_data("digits", tmp_path).train).double()
    expected = x.view(-1, 4, 2, 4, 2, 3).mean((2, 4)).add(0.5).floor()
    assert torch.equal(split.x.double(), expected)
    assert notes == ("unlabelled images: images are averaged from 8 x 8 to 4 x 4 pixels",)


def test_the_fingerprint_takes_them_in_and_stays_without_them() -> None:
    dataset, other = made(), fitting(made().train, made())
    alone, both = fingerprint(dataset), fingerprint(dataset, other)
    assert alone == fingerprint(dataset, None) != both
    assert isinstance(other, Images)
    changed = replace(other, x=other.x.flip(0))
    assert fingerprint(dataset, changed) != both
