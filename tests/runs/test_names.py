"""Names of folders: what ordinary runs are called, and that no two values share a name."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from cohobate.config.grammar import text
from cohobate.config.groups import Training
from cohobate.report.tables.sweep import shown
from cohobate.runs.folder import default_root, seed_folder


def named(label: str) -> str:
    return seed_folder(Path("r"), label, 0).parent.name


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("baseline", "baseline"),
        ("kd+at", "kd-at"),
        ("self_guidance weight=0.5 survival=0.8", "self_guidance-weight=0.5-survival=0.8"),
        ("kd weight=1e-05", "kd-weight=1e-05"),
        ("fitnet pairs=1,2", "fitnet-pairs=1-2"),
        ("frskd half=True layer=None kind=stage", "frskd-half=True-layer=None-kind=stage"),
        ("ours.py:Scaled scale=0.5", "ours.py-Scaled-scale=0.5"),
        ("my-file.py:Scaled", "my-file.py-Scaled"),
        ("takd assistants=timm:resnet18,resnet14", "takd-assistants=timm-resnet18-resnet14"),
        ("lr=0.05", "lr=0.05"),
        ("model=timm:resnet18", "model=timm-resnet18"),
    ],
)
def test_an_ordinary_run_is_called_as_before(label: str, name: str) -> None:
    assert named(label) == name


@pytest.mark.parametrize(
    ("data", "model", "name"),
    [
        ("digits", "resnet8", "digits-resnet8"),
        ("images/my-pets", "resnet20:shortcut=padding", "my-pets-resnet20-shortcut=padding"),
        ("cifar10", "timm:resnet18:pretrained", "cifar10-timm-resnet18-pretrained"),
        ("cifar10", "mine.py:net", "cifar10-mine.py-net"),
    ],
)
def test_an_ordinary_place_is_called_as_before(data: str, model: str, name: str) -> None:
    assert default_root(Training(data=data, model=model)) == Path("runs", name)


def test_the_sign_of_an_exponent_stays() -> None:
    assert named(f"kd weight={text(1e30)}") == "kd-weight=1e+30"
    assert named(f"kd weight={text(1e-30)}") == "kd-weight=1e-30"


VALUES: list[Any] = [
    *(1e30, 1e-30, -1e30, -1, 1, (1, -1), (-1, 1), (1, 1), (), "1 1", "1-1", "1e-5", (1, "e-5"), ("1e", 5)),
    *(
        "a-b",
        "a b",
        "a/b",
        "a.b",
        "a+b",
        "a:b",
        "a,b",
        "a|b",
        "A-b",
        "A",
        "a",
        "a-",
        "a.",
        "-a",
        "a=b",
        "a b=1",
    ),
    *("\u00e4", "\u00f6", " ", "timm:a", ("timm", "a"), "x" * 300, "x" * 301, "../a", "\udcff"),
]


def test_no_two_values_share_a_folder() -> None:
    names: dict[str, str] = {}
    for value in VALUES:
        label = f"m x={text(value)}"
        assert names.setdefault(named(label), label) == label
    assert len(names) == len({text(value) for value in VALUES})
    assert all(len(name) < 256 and "/" not in name for name in names)


def test_no_two_methods_share_a_folder() -> None:
    methods = ["kd+at", "kd at=1", "a/b.py:C", "a-b.py:C", "a.b:C", "a.b:c", "a:c", "a:C", "A:C", "kd", "KD"]
    assert len({named(method) for method in methods}) == len(methods)


def test_no_two_pairs_of_data_and_model_share_a_folder() -> None:
    data = ["a", "a-timm", "a-torchvision", "a b", "a-b", "a.", "A", "\u00e4", "\u00f6", "a-x.py", "timm"]
    models = ["resnet8", "timm:resnet8", "torchvision:resnet8", "b/x.py:net", "b-x.py:net", "x.py:net"]
    models += ["resnet8:weights=a/b.pt", "resnet8:weights=a-b.pt"]
    pairs = list(itertools.product(data, models))
    names = {default_root(Training(data=d, model=m)).name for d, m in pairs}
    assert len(names) == len(pairs)


def test_a_swept_value_is_written_so_that_it_reads_back() -> None:
    close = (0.1234567890123, 0.1234567890124)
    assert len({shown(value) for value in close}) == 2
    assert [shown(value) for value in (5e-8, 0.25, 1e30, 0.1)] == ["5e-8", "0.25", "1e30", "0.1"]
