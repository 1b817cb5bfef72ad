"""``--flip``, ``--crop`` and ``--channels`` as a person gives them, and where a run says what it had."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from command_line import fails
from PIL import Image

import cohobate
from cohobate.cli import main
from cohobate.core import Batch
from cohobate.data.arrays import arrays
from cohobate.data.dataset import Dataset
from cohobate.data.folder import load_folder
from cohobate.data.loaders import train_loader
from cohobate.runs.deployed import read_deployed

SHORT = ["--device", "cpu", "--workers", "0", "--lr", "0.05", "--batch-size", "8", "--val-fraction", "0"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "150")


def sides(side: int, images: int = 12, mode: str = "RGB") -> Path:
    """Pictures that are bright on the left, or on the right, of many brightnesses; as many to test on."""
    root = Path(f"sides-{side}-{mode}")
    rng = np.random.default_rng(0)
    rise = np.linspace(0, 1, side)
    for part in ("train", "test"):
        for name, line in (("left", rise[::-1]), ("right", rise)):
            folder = root / part / name
            folder.mkdir(parents=True)
            for k in range(images):
                low, high = sorted(rng.integers(0, 256, 2))
                x = (low + (high + 40 - low) * line).clip(0, 255).astype(np.uint8)
                Image.fromarray(np.tile(x, (side, 1))).convert(mode).save(folder / f"{k}.png")
    return root


def error(folder: str) -> float:
    facts = json.loads(Path(folder, "result.json").read_text())
    return float(facts["last"]["test"]["network"]["top1_error"])


HALVES = """
from torch import nn


def halves(classes):
    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, classes))
"""


@pytest.mark.parametrize("side", [12, 72], ids=["in memory", "files"])
def test_left_and_right_are_learned_without_mirror_images(
    side: int, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("own.py").write_text(HALVES)
    run = ["train", "baseline", "--data", str(sides(side)), *SHORT, "--image-size", str(side)]
    run += ["--model", "own.py:halves", "--epochs", "20"]
    main([*run, "--no-flip", "--out", "a"])
    main([*run, "--out", "b"])
    assert error("a") <= 5
    assert error("b") >= 25
    assert yaml.safe_load(Path("a/run.yaml").read_text())["flip"] is False
    crops = "random crops, 1 pixel of zeros around" if side == 12 else "random crops, resized"
    said = capsys.readouterr().err
    assert f"augmentation: {crops}, not mirrored\n" in said
    assert f"augmentation: {crops}, mirrored at random; --no-flip if left and right matter\n" in said
    for folder, words in (("a", f"{crops}, not mirrored"), ("b", f"{crops}, mirrored at random")):
        assert json.loads(Path(folder, "provenance.json").read_text())["augmentation"] == words
        page = Path(folder, "report.html").read_text()
        assert f"Augmentation of the training images: {words}." in page


def test_every_source_has_the_options_and_keeps_its_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    quick = ["--epochs", "1", "--device", "cpu", "--quiet"]
    main(["train", "baseline", *quick, "--out", "a"])
    main(["train", "baseline", *quick, "--flip", "--crop", "0", "--out", "b"])
    main(["train", "baseline", *quick, "--no-flip", "--crop", "1", "--out", "c"])
    recorded = [json.loads(Path(f, "provenance.json").read_text())["augmentation"] for f in "abc"]
    same = "random crops, 1 pixel of zeros around, not mirrored"
    assert recorded == [same, "no crops, mirrored at random", same]
    one, two, three = (read_deployed(Path(f)).tensors["fc.weight"] for f in "abc")
    assert torch.equal(one, three)
    assert not torch.equal(one, two)
    capsys.readouterr()
    main(["train", "baseline", *quick, "--mixing", "cutmix", "--autoaugment", "cifar", "--dry-run"])
    assert f"augmentation: {same}, AutoAugment (cifar), cutmix of 100% of the batches (alpha 1)" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--crop", "8"), "crop 8 must be 0 or more and less than the shorter side of the images, 8 x 8"),
        (("--crop", "-1"), "crop: give pixels, 0 or more, or resized; got -1"),
        (("--crop", "resized"), "crop resized is for pictures in files; digits is read as it is"),
        (("--flip", "--augmentations", "0"), "augmentations 0 shows the images as they are; leave out flip"),
        (("--flip=maybe",), "flip: Input should be a valid boolean"),
        (("--channels", "2"), "images of digits have 3 channels and cannot be turned into 2"),
        (
            ("--channels", "1", "--autoaugment", "svhn"),
            "autoaugment svhn works on the colours of RGB images, and these have 1 channels",
        ),
    ],
)
def test_what_cannot_be_is_refused(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = " ".join(fails(capsys, "train", "baseline", "--device", "cpu", "--out", "run", *arguments).split())
    assert message in said
    assert not Path("run").exists()


def test_padding_of_large_files_is_refused_with_what_there_is_instead(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = fails(capsys, "train", "baseline", "--data", str(sides(72, 2)), *SHORT, "--crop", "4")
    assert "crop 4 is the padding of images held in memory" in said
    assert "give 0 to show their centre" in said


def test_crop_0_shows_the_centre_of_files() -> None:
    from cohobate.data.augment.crops import with_crops

    dataset = load_folder(sides(72, 4), image_size=72)
    options: dict[str, Any] = {"batch_size": 8, "seed": 0, "device": torch.device("cpu"), "workers": 0}
    centred = next(iter(train_loader(dataset, **options, augmentations=0).epoch(0)))

    def shown(crop: int | None, flip: bool) -> Batch:
        return next(iter(train_loader(with_crops(dataset, crop, flip), **options).epoch(0)))

    still = shown(0, flip=False)
    assert torch.equal(still.x, centred.x)
    mirrored = shown(0, flip=True)
    same = [torch.equal(a, b) for a, b in zip(mirrored.x, centred.x, strict=True)]
    other = [torch.equal(a, b.flip(-1)) for a, b in zip(mirrored.x, centred.x, strict=True)]
    assert all(a or b for a, b in zip(same, other, strict=True))
    assert any(same)
    assert any(other)
    assert not torch.equal(shown(None, flip=False).x, centred.x)


def test_mirror_images_can_be_switched_off_on_every_device(device: str) -> None:
    from cohobate.data.augment.crops import with_crops

    x = np.zeros((8, 4, 6, 3), np.uint8)
    x[..., 4:, :] = 255
    dataset = arrays(x, np.arange(8) % 2, flip=True)
    options: dict[str, Any] = {"batch_size": 8, "seed": 0, "device": torch.device(device)}

    def left_is_bright(dataset: Dataset) -> int:
        (batch,) = train_loader(dataset, **options).epoch(0)
        return int((batch.x[:, 0, 0, 0] > batch.x[:, 0, 0, 5]).sum())

    assert 0 < left_is_bright(dataset) < 8
    assert left_is_bright(with_crops(dataset, None, False)) == 0


def test_fit_takes_them_too(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
    data = arrays(x, np.arange(40) % 2)
    quick: dict[str, Any] = {"epochs": 1, "batch_size": 10, "device": "cpu", "quiet": True}
    network = cohobate.build("resnet8", 2, shape=(1, 8, 8))
    method = cohobate.Supervised(network)
    cohobate.fit(method, data, tmp_path / "a", flip=True, crop=2, channels=1, **quick)
    made = json.loads((tmp_path / "a/provenance.json").read_text())
    assert made["augmentation"] == "random crops, 2 pixels of zeros around, mirrored at random"


# ---------------------------------------------------------------- channels


@pytest.mark.parametrize("side", [12, 72], ids=["in memory", "files"])
def test_a_folder_is_read_in_grey_and_the_network_is_made_for_it(
    side: int, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(sides(side, 6, mode="L"))
    arguments = ["train", "baseline", "--data", data, *SHORT, "--epochs", "1", "--keep-epochs", "1"]
    main([*arguments, "--channels", "1", "--image-size", str(side), "--out", "run"])
    deployed = read_deployed(Path("run"))
    assert deployed.shape == (1, side, side)
    assert len(deployed.statistics[0]) == 1
    assert deployed.tensors["conv.weight"].shape == (16, 1, 3, 3)
    network = cohobate.load(Path("run"))
    assert network(torch.randn(2, 1, side, side)).shape == (2, 2)
    # 3 x 3 kernels, 16 filters, on one channel instead of three.
    three = cohobate.build("resnet8", 2, shape=(3, side, side))
    fewer = sum(p.numel() for p in three.parameters()) - sum(p.numel() for p in network.parameters())
    assert fewer == 2 * 9 * 16
    capsys.readouterr()
    main(["evaluate", "run"])
    assert "top-1 error" in capsys.readouterr().out
    main(["attention", "run", "--split", "test", "--images", "2"])
    assert Path("run/attention-test.png").exists()


def test_unlabelled_images_come_in_the_same_channels() -> None:
    data = str(sides(12, 8, mode="RGB"))
    run = ["train", "kd", "--data", data, *SHORT, "--epochs", "1", "--channels", "1", "--out", "run"]
    main([*run, "--teacher", "resnet8", "--unlabelled", data, "--unlabelled-share", "0.5"])
    assert read_deployed(Path("run")).shape == (1, 12, 12)


def test_a_teacher_for_other_channels_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    quick = ["--epochs", "1", "--device", "cpu", "--quiet"]
    main(["train", "baseline", *quick, "--channels", "1", "--out", "grey"])
    said = fails(capsys, "train", "kd", *quick, "--teacher", "grey")
    assert "the teacher grey sees images of 1 channel, those of digits have 3" in said
    assert "--channels 1" in said
    assert not Path("runs").exists()


OWN = """
from torch import nn


def fixed(classes):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, classes))


def flexible(classes, in_channels):
    return nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, classes))
"""


def test_an_own_network_is_told_the_channels(capsys: pytest.CaptureFixture[str]) -> None:
    Path("own.py").write_text(OWN)
    quick = ["--epochs", "1", "--device", "cpu", "--quiet", "--channels", "1"]
    main(["train", "baseline", *quick, "--model", "own.py:flexible", "--out", "a"])
    assert read_deployed(Path("a")).tensors["0.weight"].shape[1] == 1
    said = fails(capsys, "train", "baseline", *quick, "--model", "own.py:fixed", "--out", "b")
    assert "does not take images of 1 x 8 x 8" in said
    assert "give own.py:fixed a parameter in_channels" in said
    assert not Path("b").exists()


def test_torchvision_has_no_networks_for_other_channels(capsys: pytest.CaptureFixture[str]) -> None:
    said = fails(
        capsys, "train", "baseline", "--device", "cpu", "--channels", "1", "--model", "torchvision:resnet18"
    )
    assert "torchvision:resnet18 is for images of 3 channels, these have 1; take a network of timm" in said


def test_inspect_shows_a_network_for_grey_images(capsys: pytest.CaptureFixture[str]) -> None:
    main(["inspect", "resnet8", "--classes", "10", "--channels", "1"])
    assert "images 1 x 32 x 32" in capsys.readouterr().out
