"""Masks by ``cohobate predict`` and ``cohobate.predict``: those of the evaluation, at the pictures' sizes."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from command_line import fails, refused
from handed_over import hand_over, save_picture
from PIL import Image
from torch import Tensor, nn

import cohobate
from cohobate.cli import main
from cohobate.commands import predict_masks as writing
from cohobate.commands.evaluate import evaluate_run
from cohobate.commands.feeds import MEASURES
from cohobate.commands.task_at import segments
from cohobate.config import extras
from cohobate.config.colours import class_colours
from cohobate.data.pictures import Reading
from cohobate.data.views import padded_box, shown_box, uncut, whole
from cohobate.engine.errors import RunError

CLASSES = ["sky", "road, wet", "tree"]
SIZE = (18, 26)
NETWORK = """
from torch import nn

def make(classes):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, classes, 3, padding=1)
    )
"""
SIZES = [(31, 40), (50, 21), (18, 26), (9, 13), (64, 64), (33, 48)]
"""(height, width) of pictures."""


def scene(folder: Path, name: str, size: tuple[int, int], seed: int, **how: Any) -> None:
    """A picture of noise, the brighter the later its class, and its mask; some pixels do not count."""
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, len(CLASSES), (-(-size[0] // 8), -(-size[1] // 8))).repeat(8, 0).repeat(8, 1)
    mask = mask[: size[0], : size[1]].astype(np.uint8)
    pixels = (mask[..., None] * 80 + rng.integers(0, 60, (*size, 3))).astype(np.uint8)
    mask[rng.random(size) < 0.05] = 255
    for part, image in (("images", Image.fromarray(pixels)), ("masks", Image.fromarray(mask))):
        (folder / part).mkdir(parents=True, exist_ok=True)
        image.save(folder / part / f"{name}.png", **(how if part == "images" else {}))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``scenes`` to learn from, a run with each fit, and a file of weights."""
    root = tmp_path_factory.mktemp("segmenting")
    for i in range(8):
        scene(root / "scenes" / "train", f"{i}", (24, 36), i)
    for i, size in enumerate(SIZES):
        scene(root / "scenes" / "test", f"{i}", size, 100 + i)
    lines = [f'{k},"{name}"\n' for k, name in enumerate(CLASSES)]
    (root / "scenes" / "classes.csv").write_text("".join(["id,name\n", *lines]))
    (root / "net.py").write_text(NETWORK)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for fit in ("crop", "squash"):
            command = ["train", "baseline", "--data", "scenes", "--image-size", "18,26", "--epochs", "2"]
            command += ["--model", "net.py:make", "--batch-size", "4", "--device", "cpu", "--quiet"]
            command += ["--val-fraction", "0.25", "--fit", fit, "--background", "#203040", "--lr", "0.05"]
            main([*command, "--workers", "0", "--out", f"run-{fit}"])
        hand_over(
            "net.safetensors", ("dense:resnet8",), task="segmentation", classes=CLASSES, shape=(3, *SIZE)
        )
    return root


@pytest.fixture(autouse=True)
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own, in which what was made lies."""
    for path in made.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def predicted(*arguments: str) -> None:
    main(["predict", *arguments, "--workers", "0"])


def read(file: Path | str) -> np.ndarray:
    return np.asarray(Image.open(file))


# ---------------------------------------------------------------- what is evaluated


def seen_by_evaluate(run: str) -> tuple[Tensor, Tensor, list[Any], dict[str, Any]]:
    """Images, logits, and whole masks as ``cohobate evaluate`` has them, and what it measures."""
    images: list[Tensor] = []
    logits: list[Tensor] = []
    truths: list[Any] = []
    measures = MEASURES["segmentation"]

    def recorded(readouts: Any, loader: Any, *others: Any) -> Any:
        for batch in loader.epoch(0):
            images.append(batch.x)
            logits.append(readouts(batch.x)["network"])
            truths.extend(batch.truths)
        return measures.evaluate(readouts, loader, *others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MEASURES, "segmentation", measures._replace(evaluate=recorded))
        measured, _, _ = evaluate_run(Path(run))
    return torch.cat(images), torch.cat(logits), truths, measured


@pytest.mark.parametrize("fit", ["crop", "squash"])
def test_logits_are_equal_bit_by_bit_and_masks_give_the_measured_numbers(fit: str) -> None:
    run = f"run-{fit}"
    _, expected, truths, measured = seen_by_evaluate(run)
    from cohobate.commands import predict_python

    logits: list[Tensor] = []
    original = predict_python.masks_of

    def recorded(each: Any, reading: Any) -> Any:
        logits.append(each.logits)
        return original(each, reading)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict_python, "masks_of", recorded)
        found = cohobate.predict(run, "scenes/test/images")
    assert torch.equal(torch.cat(logits), expected)
    assert len(expected.unique(dim=0)) == len(SIZES)
    assert [tuple(mask.shape) for mask in found.masks] == SIZES
    assert found.names == tuple(f"scenes/test/images/{i}.png" for i in range(len(SIZES)))

    # By hand: cut out of the padding, enlarged, the largest; then a count per pixel.
    both, either = np.zeros(3), np.zeros(3)
    for i, (mask, truth) in enumerate(zip(found.masks, truths, strict=True)):
        left, top, right, bottom = truth.box
        part = expected[i : i + 1, :, top:bottom, left:right]
        wanted = F.interpolate(part, size=SIZES[i], mode="bilinear", align_corners=False)[0].argmax(0)
        assert torch.equal(mask.long(), wanted)
        y = read(f"scenes/test/masks/{i}.png")
        for k in range(3):
            a, b = (y == k), (mask.numpy() == k) & (y != 255)
            both[k] += (a & b).sum()
            either[k] += (a | b).sum()
    iou = both[either > 0] / either[either > 0]
    assert measured["miou_original"] == pytest.approx(100 * iou.mean())
    assert measured["miou_original"] != pytest.approx(measured["miou"], rel=1e-6)


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_the_box_is_where_the_picture_is(fit: Any) -> None:
    """White on black: the image is white in the box, and nowhere else."""
    for width, height in [(30, 17), (8, 50), (26, 18), (100, 3), (1, 1), (77, 76)]:
        reading = uncut(Reading(fit, "black"))
        image = np.asarray(whole(Image.new("RGB", (width, height), "white"), SIZE, reading))
        left, top, right, bottom = shown_box(width, height, SIZE, reading)
        expected = np.zeros((*SIZE, 3), np.uint8)
        expected[top:bottom, left:right] = 255
        np.testing.assert_array_equal(image, expected)
        if fit != "squash":
            assert (left, top, right, bottom) == padded_box(width, height, SIZE)


def test_a_reading_that_cuts_has_no_box() -> None:
    with pytest.raises(ValueError, match="fit crop cuts off a part of a picture"):
        shown_box(4, 5, SIZE, Reading("crop"))


# ---------------------------------------------------------------- the files


def test_a_mask_an_overlay_shares_and_a_legend(capsys: pytest.CaptureFixture[str]) -> None:
    predicted("run-crop", "scenes/test/images", "--out", "out")
    assert capsys.readouterr().out == "out  6 images\n"
    files = sorted(str(path.relative_to("out")) for path in Path("out").rglob("*") if path.is_file())
    both = [f"{part}/{i}.png" for part in ("masks", "overlays") for i in range(6)]
    assert files == sorted([*both, "classes.csv", "shares.csv"])
    found = cohobate.predict("run-crop", "scenes/test/images")
    colours = class_colours(3)
    with Path("out/shares.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "mask", "overlay", *(f"share_{name}" for name in CLASSES)]
    for i, (mask, row) in enumerate(zip(found.masks, rows, strict=True)):
        picture = Image.open(f"out/masks/{i}.png")
        assert (picture.mode, picture.size) == ("P", SIZES[i][::-1])
        header = Path(f"out/masks/{i}.png").read_bytes()
        assert (header[24], header[25]) == (8, 3)  # bits, and a palette
        np.testing.assert_array_equal(np.asarray(picture), mask.numpy())
        painted = np.array(colours, np.uint8)[mask.numpy()]
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), painted)
        own = read(f"scenes/test/images/{i}.png").astype(float)
        over = read(f"out/overlays/{i}.png")
        assert over.shape == own.shape
        np.testing.assert_allclose(over, (own + painted) / 2, atol=1)
        assert (row["path"], row["mask"]) == (f"scenes/test/images/{i}.png", f"masks/{i}.png")
        assert row["overlay"] == f"overlays/{i}.png"
        for k, name in enumerate(CLASSES):
            share = float((mask == k).double().mean())
            assert float(row[f"share_{name}"]) == pytest.approx(share, rel=1e-8)
            assert float(found.shares[i, k]) == pytest.approx(share)
    with Path("out/classes.csv").open(newline="") as file:
        legend = list(csv.reader(file))
    assert legend[0] == ["id", "name", "colour"]
    assert [row[:2] for row in legend[1:]] == [[str(k), name] for k, name in enumerate(CLASSES)]
    assert legend[1][2] == "#{:02x}{:02x}{:02x}".format(*colours[0])
    assert not list(Path("out").rglob("*.tmp"))


def test_formats_and_overlays(capsys: pytest.CaptureFixture[str]) -> None:
    predicted("net.safetensors", "scenes/test/images", "--out", "a", "--format", "jsonl", "--overlay", "0")
    assert not Path("a/overlays").exists()
    lines = [json.loads(line) for line in Path("a/shares.jsonl").read_text().splitlines()]
    assert [list(line) for line in lines] == [["path", "mask", "shares"]] * 6
    assert sum(lines[0]["shares"].values()) == pytest.approx(1)
    assert list(lines[0]["shares"]) == CLASSES
    predicted(
        "net.safetensors", "scenes/test/images/0.png", "--out", "b", "--format", "table", "--overlay", "1"
    )
    text = Path("b/shares.txt").read_text()
    assert "net.safetensors, 1 image" in text
    assert " %" in text
    np.testing.assert_array_equal(
        read("b/overlays/0.png"), np.array(class_colours(3), np.uint8)[read("b/masks/0.png")]
    )
    capsys.readouterr()


def test_names_do_not_meet() -> None:
    """Below the folder that holds all of them; those that differ in their ending keep it."""
    for name in ("x/1.png", "y/1.png", "y/1.jpg", "y/z/1.bmp"):
        save_picture(name, len(name))
    predicted("net.safetensors", "x", "y", "--out", "out", "--overlay", "0")
    masks = {str(path.relative_to("out/masks")) for path in Path("out/masks").rglob("*.png")}
    assert masks == {"x/1.png", "y/1.png.png", "y/1.jpg.png", "y/z/1.png"}
    save_picture("y/1.jpg.gif")
    with pytest.raises(SystemExit):
        predicted("net.safetensors", "y", "--out", "again")
    assert not Path("again").exists()


def test_a_picture_that_a_camera_turned_is_upright() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 34, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise).save("turned.png", exif=exif)
    Image.fromarray(noise).transpose(Image.Transpose.ROTATE_270).save("upright.png")
    found = cohobate.predict("net.safetensors", ["turned.png", "upright.png"])
    assert [tuple(mask.shape) for mask in found.masks] == [(34, 20)] * 2
    assert torch.equal(*found.masks)
    predicted("net.safetensors", "turned.png", "--out", "out")
    assert read("out/overlays/turned.png").shape == (34, 20, 3)


def test_what_cannot_be_read_is_named_and_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(3):
        save_picture(f"pets/{i}.png", i)
    Path("pets/1.png").write_bytes(b"no picture")
    predicted("net.safetensors", "pets", "--out", "out")
    err = capsys.readouterr().err.splitlines()
    assert err == [
        "skipped pets/1.png: it is no image, or of a format that Pillow does not know",
        "1 of 3 images cannot be read and are left out",
    ]
    assert sorted(path.name for path in Path("out/masks").iterdir()) == ["0.png", "2.png"]
    found = cohobate.predict("net.safetensors", "pets")
    assert [skipped.name for skipped in found.skipped] == ["pets/1.png"]
    assert len(found.masks) == 2
    error = fails(
        capsys, "predict", "net.safetensors", "pets", "--out", "strict", "--strict", "--workers", "0"
    )
    assert "cannot read pets/1.png" in error
    error = refused(capsys, "predict", "net.safetensors", "pets/1.png", "--out", "none", "--workers", "0")
    assert "the image cannot be read: pets/1.png" in error


def test_a_picture_that_changes_meanwhile_is_left_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(2):
        save_picture(f"pets/{i}.png", i)
    original = writing.upright

    def changed(picture: Any, reading: Any) -> Any:
        found = original(picture, reading)
        return found.resize((3, 3)) if Path(picture).name == "0.png" else found

    monkeypatch.setattr(writing, "upright", changed)
    predicted("net.safetensors", "pets", "--out", "out")
    assert "skipped pets/0.png: it has changed while it was predicted" in capsys.readouterr().err
    assert [path.name for path in Path("out/masks").iterdir()] == ["1.png"]


def test_one_picture_is_held_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each mask is written before the next is made."""
    for i in range(5):
        save_picture(f"pets/{i}.png", i)
    events: list[str] = []
    named, write = writing.masks_of, writing.write_bytes

    def masks(*arguments: Any) -> Any:
        for mask in named(*arguments):
            events.append(f"made {mask.row}")
            yield mask

    def written(path: Path, data: bytes) -> None:
        events.append(f"wrote {path.stem}")
        write(path, data)

    monkeypatch.setattr(writing, "masks_of", masks)
    monkeypatch.setattr(writing, "write_bytes", written)
    predicted("net.safetensors", "pets", "--out", "out", "--overlay", "0")
    assert events[:10] == [f"{what} {i}" for i in range(5) for what in ("made", "wrote")]


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "net.safetensors gives every pixel a class, and writes masks: name their folder with --out"),
        (["--out", "x.csv"], "writes a folder; --out x.csv ends as a file does"),
        (["--out", "net.py"], "--out net.py is a file"),
        (["--out", "net.py/x"], "net.py is no folder that can be written"),
        (["--out", "x", "--top-k", "1"], "--top-k is for networks that give each image a class"),
        (["--out", "x", "--adaptive"], "--adaptive is for networks that give each image a class"),
        (["--out", "x", "--overlay", "1.5"], "overlay: Input should be less than or equal to 1 (got 1.5)"),
        (["--out", "x", "--weights", "best"], "--weights best is for the folder of a run"),
    ],
)
def test_options_of_others_are_refused_by_name(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    error = refused(capsys, "predict", "net.safetensors", "scenes/test/images", *arguments)
    assert error.count("\n") == 1
    assert message in error


def test_what_is_no_finished_run_is_said_first(capsys: pytest.CaptureFixture[str]) -> None:
    """With masks --out is a folder, and whether there are masks nobody knows without the run."""
    there = "scenes/test/images", "--out", "masks"
    error = refused(capsys, "predict", "run-crap", *there)
    assert error.startswith("error: run-crap is not there; the nearest in .: run-crop")
    Path("begun").mkdir()
    shutil.copy("run-crop/run.yaml", "begun/run.yaml")
    assert "begun has not finished: 0 epochs so far" in refused(capsys, "predict", "begun", *there)


def test_a_folder_is_refused_before_the_network_is_opened(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*arguments: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(writing, "opened_for", never)
    assert "is a file" in refused(capsys, "predict", "run-crop", "scenes/test/images", "--out", "net.py")


@pytest.mark.parametrize("there", ["masks/3.png", "overlays/3.png", "shares.csv", "classes.csv"])
def test_nothing_that_is_there_is_replaced(capsys: pytest.CaptureFixture[str], there: str) -> None:
    """A folder of images and masks may be named by mistake: its masks are somebody's work."""
    file = Path("out", there)
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    error = refused(capsys, "predict", "net.safetensors", "scenes/test/images", "--out", "out")
    assert error.startswith(f"error: out/{there} is there already, and nothing is replaced")
    assert file.read_text() == "mine"
    error = refused(capsys, "predict", "net.safetensors", "scenes/test/images", "--out", "scenes/test")
    assert error.startswith("error: scenes/test/masks/0.png is there already, and 5 other files too")


@pytest.mark.parametrize("name", ["gone.onnx", "gone.safetensors", "gone"])
def test_of_what_is_not_there_nothing_is_said_but_that(capsys: pytest.CaptureFixture[str], name: str) -> None:
    error = refused(capsys, "predict", name, "scenes/test/images", "--overlay", "0.5", "--out", "x")
    assert name in error
    assert "is not there" in error
    assert "overlay" not in error


def test_onnx_that_is_not_installed_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_onnx(name: str) -> Any:
        if name == "onnx":
            raise ModuleNotFoundError("No module named 'onnx'", name="onnx")
        return import_module(name)

    monkeypatch.setattr(extras, "import_module", without_onnx)
    Path("net.onnx").write_bytes(b"not read without the library")
    for more in ([], ["--overlay", "0.5"], ["--out", "x"]):
        error = refused(capsys, "predict", "net.onnx", "scenes/test/images", *more)
        assert "an ONNX file needs onnx, onnxruntime and onnxscript; install them: pip install" in error


@pytest.mark.parametrize("ending", ["onnx", "safetensors"])
@pytest.mark.parametrize(
    "content",
    [b"", b"\x01", b"\xff" * 64, b"\x02" + bytes(7) + b"[]", b"\x02" + bytes(7) + b"{}", b"<html>" * 20],
)
def test_a_damaged_file_says_nothing(tmp_path: Path, ending: str, content: bytes) -> None:
    file = tmp_path / f"damaged.{ending}"
    file.write_bytes(content)
    assert not segments(file)


def test_overlays_of_a_classifier_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    hand_over("plain.safetensors")
    error = refused(capsys, "predict", "plain.safetensors", "scenes/test/images", "--overlay", "0.5")
    assert "--overlay is for networks that give every pixel a class, and plain.safetensors gives" in error


def test_logits_that_are_not_finite() -> None:
    shutil.copy("net.safetensors", "nan.safetensors")
    from cohobate.engine.checkpoint import State, read_state, write_state

    state = read_state(Path("nan.safetensors"))
    tensors = {key: value * float("nan") for key, value in state.tensors.items() if value.is_floating_point()}
    write_state(Path("nan.safetensors"), State({**state.tensors, **tensors}, state.facts))
    with pytest.raises(RunError, match=r"logits of scenes/test/images/0\.png are not finite"):
        cohobate.predict("nan.safetensors", "scenes/test/images/0.png")


# ---------------------------------------------------------------- Python


class Gives(nn.Module):
    """Logits that are the channels of the images, of every pixel."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_a_network_in_hand() -> None:
    x = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    found = cohobate.predict(Gives(), x)
    assert type(found) is cohobate.PredictedMasks
    assert [mask.tolist() for mask in found.masks] == x.argmax(1).tolist()
    assert {mask.dtype for mask in found.masks} == {torch.uint8}
    assert found.classes == ("0", "1", "2", "3")
    assert found.shares.shape == (3, 4)
    torch.testing.assert_close(found.shares.sum(1), torch.ones(3, dtype=torch.float64))
    noise = np.random.default_rng(0).integers(0, 256, (2, 5, 6, 3)).astype(np.uint8)
    known: dict[str, Any] = {"mean": (0, 0, 0), "std": (1, 1, 1), "classes": ("r", "g", "b")}
    in_bytes = cohobate.predict(Gives(), noise, **known)
    assert [mask.tolist() for mask in in_bytes.masks] == noise.argmax(-1).tolist()
    # Pictures of its size, and of another: all of it is seen, though a Reading cuts by default.
    pictures = [Image.fromarray(each) for each in noise]
    same = cohobate.predict(Gives(), pictures, size=(5, 6), **known)
    assert all(map(torch.equal, same.masks, in_bytes.masks))
    halves = np.zeros((10, 40, 3), np.uint8)
    halves[:, :20, 1] = halves[:, 20:, 2] = 255
    (wide,) = cohobate.predict(Gives(), Image.fromarray(halves), size=(8, 8), **known).masks
    assert wide.shape == (10, 40)
    assert (wide[:, :18] == 1).all()
    assert (wide[:, 22:] == 2).all()


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        (
            lambda: "net.safetensors",
            {"top_k": 1},
            "top_k is for networks that give each image a class, and net",
        ),
        (
            lambda: "net.safetensors",
            {"adaptive": True},
            "gives every pixel a class, and adaptive lets images",
        ),
        (
            Gives,
            {"top_k": 2, "mean": (0,) * 3, "std": (1,) * 3, "size": 4},
            "top_k is for networks that give",
        ),
    ],
)
def test_options_that_do_not_go_with_masks(network: Callable[[], Any], options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cohobate.predict(network(), "scenes/test/images", **options)


def test_a_mask_of_bytes_has_255_classes_at_most() -> None:
    x = torch.zeros(1, 256, 2, 2)
    with pytest.raises(
        ValueError, match="Gives predicts 256 classes, and masks are of bytes, with 255 at most"
    ):
        cohobate.predict(Gives(), x)
    x[:, 254] = 1
    assert cohobate.predict(Gives(), x[:, :255]).masks[0].unique().tolist() == [254]


def test_load_gives_every_pixel_logits() -> None:
    images = torch.randn(2, 3, *SIZE)
    for path in ("run-crop", "net.safetensors"):
        network = cohobate.load(path)
        assert network(images).shape == (2, 3, *SIZE)
        assert network.class_names == tuple(CLASSES)
    with pytest.raises(ValueError, match="gives every pixel a class, and images leave early by what is said"):
        cohobate.load("run-crop", adaptive=True, threshold=0.5)
