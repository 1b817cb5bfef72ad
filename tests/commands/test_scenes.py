"""A folder of images and masks from the command line: trained, and what does not go with masks refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from painted import write

from cohobate.cli import main
from cohobate.commands import running
from cohobate.commands.looking import labelled_of
from cohobate.commands.outlook import show_plan
from cohobate.commands.prepare import Prepared, prepare
from cohobate.commands.train import train
from cohobate.data.arrays import arrays
from cohobate.data.augment.crops import with_scale
from cohobate.recipes.options import options

OWN = """
from torch import nn


def dense(classes):
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, classes, 1)
    )
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("painted")
    write(root / "images", root / "masks", 12, size=(24, 32), side=8)
    (root / "own.py").write_text(OWN)
    return root


def prepared(folder: Path, method: str = "baseline", **changes: Any) -> Prepared:
    given: dict[str, Any] = {
        "data": str(folder),
        "image_size": (24, 32),
        "model": f"{folder}/own.py:dense",
        "batch_size": 4,
        "device": "cpu",
        "workers": 0,
        **changes,
    }
    return prepare(method, options(method, given))


def test_a_folder_is_trained_and_measured(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    flags = {
        "--data": folder,
        "--image-size": "24,32",
        "--model": f"{folder}/own.py:dense",
        "--batch-size": 5,
        "--epochs": 3,
        "--lr": 0.1,
        "--val-fraction": 0.17,
        "--device": "cpu",
        "--workers": 0,
        "--out": out,
    }
    assert not main(["train", "baseline", *(str(part) for pair in flags.items() for part in pair)])
    result = json.loads((out / "result.json").read_text())
    last = result["last"]["val"]["network"]
    # Colours tell the classes, so that few steps are enough.
    assert last["miou"] > 60
    assert last["images"] == 2
    assert last["miou_original"] > 60
    assert "note: there is no test split" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"balance": "sampling"}, "balance sampling draws images by their class"),
        ({"autoaugment": "cifar"}, "autoaugment cifar moves pixels"),
        ({"cutout": 4}, "cutout 4 hides pixels"),
        ({"mixing": "mixup"}, "mixing mixup is for images with one label each.*leave it out"),
        ({"mixing": "cutmix"}, "mixing cutmix is for images with one label each"),
        ({"label_smoothing": 0.1}, "label_smoothing 0.1 is for images with one label each"),
        ({"class_weights": "balanced"}, "class_weights is for images with one label each"),
        ({"crop": 4}, "crop 4 is the padding of images held in memory"),
        ({"random_scale": (2.0, 0.5)}, "two factors above 0, the smaller one first, got 2 and 0.5"),
    ],
)
def test_what_needs_one_label_each_is_refused_before_training(
    folder: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        prepared(folder, **changes).check()


@pytest.mark.parametrize(
    "wrong", [("--mixing", "cutmix"), ("--label-smoothing", "0.1"), ("--autoaugment", "cifar")]
)
def test_what_is_refused_is_not_announced(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: tuple[str, str]
) -> None:
    flags = ["--data", str(folder), "--image-size", "24,32", "--model", f"{folder}/own.py:dense"]
    flags += ["--device", "cpu", "--workers", "0", "--batch-size", "4", "--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit):
        main(["train", "baseline", *flags, *wrong])
    said = capsys.readouterr().err
    assert "augmentation:" not in said
    assert "error: " in said.splitlines()[-1]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["attention", "residuals"])
def test_commands_for_images_with_one_label_each_say_what_is_for_masks(folder: Path, command: str) -> None:
    of = prepared(folder)
    with pytest.raises(ValueError, match=f"`cohobate {command}` is for runs on images with one label each"):
        labelled_of(of.dataset, "val", of.config, command)
    with pytest.raises(ValueError, match="the page of such a run, `cohobate report RUN`, shows"):
        labelled_of(of.dataset, "val", of.config, command)


def test_the_defaults_of_masks_are_in_no_folder_and_in_the_plan(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"data": str(folder), "image_size": (24, 32), "model": "dense:resnet8:width=8"}
    given |= {"batch_size": 4, "device": "cpu", "workers": 0}
    seen: list[Path] = []
    monkeypatch.setattr(running, "run", lambda prepared, folder, quiet: seen.append(folder.path))
    for own in ({"alpha": 1.0, "layers": 2}, {"alpha": 2.0}):
        train("frskd", options("frskd", {**given, **own}), quiet=True)
    assert [path.parent.name for path in seen] == ["frskd", "frskd-alpha=2.0"]
    show_plan("frskd", options("frskd", given))
    shown = capsys.readouterr().out
    assert "\nalpha=1.0  beta=None  temperature=1.0  start=0.666" in shown
    assert "width=1.0  depth=1  layers=2" in shown


def test_logits_of_pixels_are_not_stored_and_unlabelled_images_not_mixed_in(folder: Path) -> None:
    teacher = {"teacher": f"{folder}/own.py:dense", "augmentations": 2}
    with pytest.raises(
        ValueError, match="cache-teacher on is not possible: images with masks have logits of"
    ):
        prepared(folder, "kd", cache_teacher="on", **teacher).check()
    with pytest.raises(ValueError, match="learning from unlabelled images is for images with one label each"):
        prepared(folder, "kd", unlabelled=str(folder), **teacher).check()


def test_a_random_scale_is_for_masks(folder: Path) -> None:
    assert "random scale (0.7 to 1)" in prepared(folder, random_scale=(0.7, 1.0)).augmentation
    assert "whole images with their masks" in prepared(folder, crop=0).augmentation
    with pytest.raises(
        ValueError, match=r"random_scale 0.5,1.0 is for images with masks, and those of digits"
    ):
        with_scale(arrays(np.zeros((2, 8, 8, 3), np.uint8), np.arange(2), name="digits"), (0.5, 1.0))
    with pytest.raises(
        ValueError, match="augmentations 0 shows the images as they are; leave out random_scale"
    ):
        prepared(folder, augmentations=0, random_scale=(0.5, 1.0))
