"""The handwritten digits of scikit-learn: 8 x 8 pixels, grey.

E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.
"""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch

from ..dataset import Dataset, Images, channel_statistics, stratified_rows
from ..wanted import Wanted
from . import Whereabouts

FILE = "datasets/data/digits.csv.gz"
"""In scikit-learn's folder."""


def load(root: Path, wanted: Wanted) -> Dataset:
    """1,438 training and 359 test images; nothing is read from ``root``."""
    train = _split(test=False)
    mean, std = channel_statistics(train.x)
    classes = tuple(str(digit) for digit in range(10))
    test = partial(_split, test=True)
    return Dataset("digits", classes, train, None, test, mean, std, crop=1, flip=False)


def is_in(folder: Path) -> bool:
    """No folder holds them: they come with scikit-learn."""
    return False


def whereabouts(root: Path) -> Whereabouts:
    """In scikit-learn, which is not imported."""
    found = find_spec("sklearn")
    file = Path(found.origin).parent / FILE if found and found.origin else None
    there = file is not None and file.is_file()
    files = {file.name: file.stat().st_size} if file is not None and there else {}
    return Whereabouts(f"scikit-learn's {FILE}", file if there else None, files, ())


def _split(test: bool) -> Images:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    y = torch.from_numpy(labels).long()
    grey = torch.from_numpy(pixels).mul(255 / 16).round().to(torch.uint8).view(-1, 8, 8, 1)
    fifth = (torch.bincount(y) * 0.2).round().long()
    held_out, rest = stratified_rows(y, fifth, seed=0)
    return Images(grey.expand(-1, -1, -1, 3).contiguous(), y).subset(held_out if test else rest)
