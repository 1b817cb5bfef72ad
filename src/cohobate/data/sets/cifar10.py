"""CIFAR-10."""

from __future__ import annotations

from pathlib import Path

from ..dataset import Dataset
from ..wanted import Wanted
from . import Whereabouts
from .cifar import Form, find, load_cifar, look

FORMS = (
    Form(
        folder="cifar-10-batches-py",
        archive="cifar-10-python.tar.gz",
        train=tuple(f"data_batch_{k}" for k in range(1, 6)),
        test="test_batch",
        meta="batches.meta",
        before=None,
        labels="labels",
        names="label_names",
        md5={
            "cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a",
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "40351d587109b95175f43aff81a1287e",
            "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
        },
    ),
    Form(
        folder="cifar-10-batches-bin",
        archive="cifar-10-binary.tar.gz",
        train=tuple(f"data_batch_{k}.bin" for k in range(1, 6)),
        test="test_batch.bin",
        meta="batches.meta.txt",
        before=1,
        md5={"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
    ),
)


def load(root: Path, wanted: Wanted) -> Dataset:
    """See :func:`cohobate.data.sets.cifar.load_cifar`."""
    return load_cifar("cifar10", FORMS, root)


def is_in(folder: Path) -> bool:
    """Whether a folder holds a published folder or archive, or is such a folder."""
    return find(FORMS, folder) is not None


def whereabouts(root: Path) -> Whereabouts:
    """See :func:`cohobate.data.sets.cifar.look`."""
    return look(FORMS, root)
