"""Networks that give every pixel a class, in the hands of their user: exported, opened again, measured."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from command_line import fails
from PIL import Image
from torch import Tensor

import cohobate
from cohobate.cli import main
from cohobate.commands import export_int8_measures
from cohobate.commands.bench_times import bench
from cohobate.commands.evaluate import evaluate_run
from cohobate.commands.export_forms import READERS
from cohobate.commands.export_source import checked_at_most
from cohobate.commands.feeds import measured_at_once
from cohobate.commands.predict_batches import batch_size_for
from cohobate.commands.ready_opened import ready_network
from cohobate.config.forms import Form
from cohobate.engine.errors import RunError
from cohobate.inference.agreement import agreement
from cohobate.inference.deployable import noise
from cohobate.runs.exported import About, Int8

SIZE = (18, 26)


def scene(folder: Path, name: str, size: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, 3, (-(-size[0] // 8), -(-size[1] // 8))).repeat(8, 0).repeat(8, 1)
    mask = mask[: size[0], : size[1]].astype(np.uint8)
    pixels = (mask[..., None] * 80 + rng.integers(0, 60, (*size, 3))).astype(np.uint8)
    for part, image in (("images", pixels), ("masks", mask)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / part / f"{name}.png")


@pytest.fixture(scope="module", autouse=True)
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run of ``dense:resnet8`` that cuts pictures in training, and its export in all forms."""
    root = tmp_path_factory.mktemp("exporting")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for i in range(8):
            scene(Path("scenes/train"), f"{i}", (24, 36), i)
        for i, size in enumerate([(31, 40), (50, 21), (9, 13), (18, 26)]):
            scene(Path("scenes/test"), f"{i}", size, 100 + i)
        Path("scenes/classes.csv").write_text("id,name\n0,sky\n1,road\n2,tree\n")
        command = ["train", "baseline", "--data", "scenes", "--image-size", "18,26", "--epochs", "2"]
        command += ["--model", "dense:resnet8:width=8", "--batch-size", "4", "--device", "cpu", "--quiet"]
        main([*command, "--val-fraction", "0.25", "--workers", "0", "--lr", "0.05", "--out", "run"])
        main(["export", "run", "--format", "onnx,pt2,safetensors", "--int8"])
        yield


def about_of(form: Form | str) -> About:
    from cohobate.commands.export_metadata import about_at

    return about_at(Path("run/export", f"model.{form}"))


@pytest.mark.parametrize(
    ("classes", "batch", "checked"),
    [(2, 4, 8), (32, 4, 4), (33, 3, 3), (150, 1, 2)],  # from 33 on, what is counted is logits
)
def test_many_classes_take_no_more_memory(classes: int, batch: int, checked: int) -> None:
    about = about_of("onnx").model_copy(
        update={"classes": tuple(map(str, range(classes))), "shape": (3, 512, 512)}
    )
    assert measured_at_once(about.task, about.shape, classes) == batch
    assert batch_size_for(about.shape, about.task, classes) == batch
    assert checked_at_most(about) == checked
    one_label = about.model_copy(update={"task": "classification"})
    assert measured_at_once(one_label.task, one_label.shape, classes) == 500
    assert checked_at_most(one_label) == 256


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("form", ["onnx", "pt2"])
@pytest.mark.parametrize("images", [1, 3])
def test_a_file_gives_every_pixel_the_logits_of_the_network(form: Any, images: int) -> None:
    ready = ready_network(Path("run"))
    pixels = noise(images, (3, *SIZE))
    network = READERS[form](Path("run/export", f"model.{form}").read_bytes())
    logits = network(pixels)
    assert logits.shape == (images, 3, *SIZE)
    torch.testing.assert_close(logits, ready.logits(pixels), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", ["onnx", "pt2", "safetensors", "int8.onnx"])
def test_a_file_says_what_it_is_for_and_shows_the_whole_picture(form: str) -> None:
    about = about_of(form)
    assert about.task == "segmentation"
    assert about.fit == "pad"  # the run was trained with crop, which evaluation does not do to pictures
    assert about.classes == ("sky", "road", "tree")
    assert {"miou", "pixel_accuracy", "miou_original"} <= about.errors["test"].keys()


@pytest.mark.parametrize("file", ["model.onnx", "model.safetensors"])
def test_a_file_predicts_the_masks_of_the_run(file: str) -> None:
    own = cohobate.predict("run", "scenes/test/images")
    found = cohobate.predict(f"run/export/{file}", "scenes/test/images")
    assert found.classes == own.classes
    for one, two in zip(own.masks, found.masks, strict=True):
        assert one.shape == two.shape
        assert (one != two).float().mean() < 0.01
    main(["predict", f"run/export/{file}", "scenes/test/images", "--out", f"{file}.masks", "--workers", "0"])
    written = np.asarray(Image.open(f"{file}.masks/masks/1.png"))
    np.testing.assert_array_equal(written, found.masks[1].numpy())


def test_predictions_are_training_data_of_their_own() -> None:
    """Masks and classes.csv are as a folder of images and masks has them."""
    main(["predict", "run", "scenes/test/images", "--out", "own", "--overlay", "0", "--workers", "0"])
    shutil.copytree("scenes/test/images", "own/images")
    data = cohobate.load_data("own", "none", image_size=SIZE)
    assert data.classes == ("sky", "road", "tree")
    assert len(data.train) + (0 if data.val is None else len(data.val)) == 4


def test_a_file_without_a_task_is_a_classifier() -> None:
    metadata = about_of("onnx").to_metadata()
    del metadata["task"]
    assert About.from_metadata(metadata, "old.onnx").task == "classification"


def test_an_onnx_file_that_says_another_task_is_refused() -> None:
    import onnx

    model = onnx.load("run/export/model.onnx")
    for entry in model.metadata_props:
        entry.value = "classification" if entry.key == "task" else entry.value
    onnx.save(model, "other.onnx")
    with pytest.raises(
        RunError, match="is for classification and gives logits of 3 x 18 x 26 for an image of"
    ):
        ready_network(Path("other.onnx"))


def test_a_file_that_is_wrong_for_one_image_alone_is_not_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = READERS["onnx"]

    def wrong(data: bytes) -> Any:
        network = original(data)
        return lambda images: network(images) + (len(images) == 1)

    monkeypatch.setitem(READERS, "onnx", wrong)
    error = fails(capsys, "export", "run", "--out", "wrong")
    assert "the onnx file does not predict what the network of run predicts: 1 image, largest" in error
    assert not Path("wrong").exists()


def test_labels_are_compared_pixel_by_pixel() -> None:
    one = torch.tensor([0.0, 2.0]).view(1, 2, 1, 1).repeat(2, 1, 3, 4)
    two = one.clone()
    assert (
        str(agreement(one, two))
        == "2 images, largest difference of a logit 0.0e+00, all labels of 24 pixels equal"
    )
    two[1, 0, 2, 3] = 3
    found = agreement(one, two)
    assert (found.images, found.pixels, found.other_labels, found.ties) == (2, 24, 1, 0)
    assert not found.same
    assert str(found).endswith("1 other label of 24 pixels, 0 of them tied")
    one[1, :, 2, 3] = torch.tensor([1.0, 1.00005])
    two[1, :, 2, 3] = torch.tensor([1.00002, 1.0])
    assert agreement(one, two).same


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--adaptive"],
            "gives every pixel a class, and images leave early by what is said of the whole image",
        ),
    ],
)
def test_what_is_for_other_networks_is_refused(
    capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    error = fails(capsys, "export", "run", "--out", "none", *options)
    assert message in error
    assert error.count("\n") == 1
    assert not Path("none").exists()
    error = fails(capsys, "attention", "run", "--split", "test")
    assert (
        "`cohobate attention` is for runs on images with one label each, and those of scenes have masks"
        in error
    )
    error = fails(capsys, "evaluate", "run", "--adaptive")
    assert "gives every pixel a class, and images leave early" in error


# ---------------------------------------------------------------- 8 bits, and time


def test_8_bits_are_measured_by_miou() -> None:
    record = about_of("int8.onnx").int8
    assert record is not None
    assert (record.error, record.float_error) == (None, None)
    measured, _, _ = evaluate_run(Path("run"))
    assert record.float_miou == pytest.approx(measured["miou"], abs=0.2)
    assert record.images == 4
    assert record.measure == "mIoU"
    # By hand: of the int8 file's own masks at the network's size, over the pixels that the masks name.
    ready = ready_network(Path("run/export/model.int8.onnx"))
    own = ready_network(Path("run/export/model.onnx"))
    other = 0
    matrix = np.zeros((3, 3), int)
    from cohobate.commands.feeds import split_loader
    from cohobate.data.raw import pixels

    data = cohobate.load_data("scenes", "none", image_size=SIZE)
    assert data.test is not None
    test = data.test()
    (batch,) = split_loader(test, data, torch.device("cpu"), 0).epoch(0)
    images = pixels(test, range(4))
    named = ready.logits(images).argmax(1)
    other = int((named != own.logits(images).argmax(1)).sum())
    for y, k in zip(batch.y.flatten().tolist(), named.flatten().tolist(), strict=True):
        if y >= 0:
            matrix[y, k] += 1
    both = matrix.diagonal()
    union = matrix.sum(0) + matrix.sum(1) - both
    assert record.miou == pytest.approx(100 * (both[union > 0] / union[union > 0]).mean())
    assert record.other_labels == other


def test_a_loss_is_told_in_points_of_miou() -> None:
    said: dict[str, Any] = {"choices": "", "calibrated_on": "", "calibration_images": 1, "measured_on": ""}
    said |= {"images": 1, "other_labels": 0}
    assert Int8(**said, miou=40.0, float_miou=42.5).points == 2.5
    assert Int8(**said, error=40.0, float_error=42.5).points == -2.5
    for wrong in ({}, {"miou": 1.0}, {"error": 1.0, "float_error": 1.0, "miou": 1.0, "float_miou": 1.0}):
        with pytest.raises(ValueError, match="an error each, or a miou each"):
            Int8(**said, **wrong)


def test_logits_in_8_bits_that_are_not_finite_are_refused() -> None:
    with pytest.raises(RunError, match="logits of the ONNX file in int8 are not finite"):
        export_int8_measures._finite(torch.full((1, 2, 3, 3), torch.inf), "int8")


def test_bench_measures_every_form() -> None:
    found = bench([Path("run")], seconds=0.05)
    assert [row.form for row in found.rows] == ["PyTorch fp32", "ONNX", "ONNX int8"]
    assert found.batch == 64
    assert all(row.throughput.median > 0 for row in found.rows)


def test_a_batch_of_bench_has_no_more_pixels_than_one_of_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    from cohobate.commands import bench_times

    sizes: list[int] = []
    monkeypatch.setattr(
        bench_times,
        "measured_at_once",
        lambda task, shape, classes: 5 if (task, classes) == ("segmentation", 3) else 500,
    )
    monkeypatch.setattr(
        bench_times, "measured", lambda found, images, each, seconds: sizes.append(sum(each)) or _none(found)
    )
    assert bench([Path("run/export/model.onnx")]).batch == 5
    assert sizes == [16, 5]


def _none(found: Any) -> Any:
    from cohobate.commands.timing import Times

    names = [str(i) for i in range(len(found))]
    zeros = dict.fromkeys(names, 1.0)
    return Times(milliseconds=zeros, quartiles=dict.fromkeys(names, (1.0, 1.0)), rounds=1)


# ---------------------------------------------------------------- the card


def card() -> str:
    return Path("run/export/README.md").read_text()


def test_the_card_says_segmentation() -> None:
    front = yaml.safe_load(card().split("---")[1])
    assert front["pipeline_tag"] == "image-segmentation"
    assert "image-segmentation" in front["tags"]
    text = card()
    assert "gives each of their pixels a score for each of 3 classes" in text
    assert "## Measures" in text
    assert "## Errors" not in text
    assert "NLL" not in text
    assert "gives each pixel one of them" in text
    assert "mIoU, %" in text
    assert re.search(r"model\.int8\.onnx: mIoU \d+\.\d\d %, of the network in floats", text)


def test_the_card_has_the_iou_of_each_class() -> None:
    outcome = json.loads(Path("run/result.json").read_text())["last"]
    rows = re.findall(r"^\| (sky|road|tree) \| (\S+) \| (\S+) \|$", card(), re.M)
    for k, (name, *values) in enumerate(rows):
        assert name == ("sky", "road", "tree")[k]
        for split, value in zip(("val", "test"), values, strict=True):
            expected = outcome[split]["network"]["class_iou"][k]
            assert value == ("—" if expected is None else f"{expected:.2f}")
    assert len(rows) == 3
    measured, _, _ = evaluate_run(Path("run"))
    assert outcome["test"]["network"]["class_iou"] == pytest.approx(measured["class_iou"], nan_ok=True)


@pytest.mark.parametrize("size", [(40, 31), (7, 9), (26, 18), (90, 20)])
def test_the_code_of_the_card_makes_the_masks_of_predict(
    size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Larger and smaller than the network's images."""
    rng = np.random.default_rng(size[0])
    picture = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3)).astype(np.uint8))
    for path in Path("run/export").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    picture.save(tmp_path / "photo.jpg", "PNG")
    (expected,) = cohobate.predict("run", str(tmp_path / "photo.jpg")).masks
    reading, *uses = re.findall(
        r"```python\n(.*?)```", card().split("## Use")[1].split("## Measures")[0], re.S
    )
    assert len(uses) == 4
    monkeypatch.chdir(tmp_path)
    for code in uses:
        names: dict[str, Any] = {}
        exec(reading, names)
        exec(code, names)
        found = np.asarray(Image.open("mask.png"))
        assert found.shape == tuple(expected.shape)
        if "int8" not in code:
            assert (found != expected.numpy()).mean() < 0.01
        Path("mask.png").unlink()


@pytest.mark.parametrize("fit", ["pad", "squash"])
def test_the_code_of_the_card_finds_the_box(
    fit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cohobate.data.pictures import Reading
    from cohobate.data.views import shown_box
    from cohobate.report import snippets

    about = about_of("onnx").model_copy(update={"fit": fit})
    monkeypatch.chdir(tmp_path)
    for width, height in [(31, 75), (257, 33), (26, 18), (3, 200)]:
        Image.new("RGB", (width, height)).save("photo.jpg")
        names: dict[str, Any] = {}
        exec(snippets.reading(about, 1.0), names)
        box = tuple(names[name] for name in ("left", "top", "right", "bottom"))
        assert box == shown_box(width, height, SIZE, Reading(fit))
        logits = torch.randn(5, *SIZE, generator=torch.Generator().manual_seed(width))
        from cohobate.engine.measures.segmentation import named_at

        expected: Tensor = named_at(logits, box, (height, width))
        assert (names["mask"](logits.numpy()) != expected.numpy()).mean() < 1e-3


def test_the_code_of_a_card_without_pictures() -> None:
    from cohobate.report import snippets

    about = about_of("onnx").model_copy(update={"shape": (5, 8, 9), "mean": (0.0,) * 5, "std": (1.0,) * 5})
    names: dict[str, Any] = {}
    exec(snippets.reading(about, 1.0), names)
    assert names["pixels"].shape == (1, 5, 8, 9)
    assert names["mask"](np.random.default_rng(0).random((4, 8, 9), np.float32)).shape == (8, 9)
