"""CIFAR-100, its fine labels."""

from __future__ import annotations

from pathlib import Path

from ..dataset import Dataset
from ..wanted import Wanted
from . import Whereabouts
from .cifar import Form, find, load_cifar, look

FORMS = (
    Form(
        folder="cifar-100-python",
        archive="cifar-100-python.tar.gz",
        train=("train",),
        test="test",
        meta="meta",
        before=None,
        labels="fine_labels",
        names="fine_label_names",
        md5={
            "cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85",
            "train": "16019d7e3df5f24257cddd939b257f8d",
            "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
            "meta": "7973b15100ade9c7d40fb424638fde48",
        },
    ),
    Form(
        folder="cifar-100-binary",
        archive="cifar-100-binary.tar.gz",
        train=("train.bin",),
        test="test.bin",
        meta="fine_label_names.txt",
        before=2,
        md5={"cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8"},
    ),
)


def load(root: Path, wanted: Wanted) -> Dataset:
    """See :func:`cohobate.data.sets.cifar.load_cifar`."""
    return load_cifar("cifar100", FORMS, root)


def is_in(folder: Path) -> bool:
    """Whether a folder holds a published folder or archive, or is such a folder."""
    return find(FORMS, folder) is not None


def whereabouts(root: Path) -> Whereabouts:
    """See :func:`cohobate.data.sets.cifar.look`."""
    return look(FORMS, root)
