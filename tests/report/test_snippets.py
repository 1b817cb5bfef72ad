"""The Python of a card reads a picture as the training does, and finds its label by each file."""

from __future__ import annotations

import ast
import io
import json
import re
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from cohobate.data.pictures import Reading, decode
from cohobate.data.views import margin_of, whole
from cohobate.models.registry import is_known, parse
from cohobate.report import snippets
from cohobate.runs.exported import About

SIDEWAYS = 6
"""EXIF's orientation of a picture that a camera took upright."""


def about_of(channels: int = 3, size: tuple[int, int] = (32, 32), **changed: Any) -> About:
    said: dict[str, Any] = {
        "classes": ("cat", "dog"),
        "shape": (channels, *size),
        "mean": (0.5,) * channels,
        "std": (0.25,) * channels,
        "values": "0-255",
    }
    return About(**(said | changed))


def picture(mode: str, width: int, height: int, kind: str = "PNG", **options: Any) -> bytes:
    """A file of noise."""
    generator = np.random.default_rng(width * height)
    noise = Image.fromarray(generator.integers(0, 256, (height, width, 4), np.uint8), "RGBA")
    buffer = io.BytesIO()
    noise.convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = SIDEWAYS
    return picture("RGB", 101, 57, "JPEG", exif=exif)


PICTURES = {
    "wide": picture("RGB", 301, 97),
    "high": picture("RGB", 67, 211),
    "small": picture("RGB", 9, 7),
    "of the same size": picture("RGB", 32, 32),
    "jpeg": picture("RGB", 333, 222, "JPEG"),
    "turned": turned(),
    "grey": picture("L", 45, 91),
    "grey and alpha": picture("LA", 45, 91),
    "alpha": picture("RGBA", 77, 50),
    "palette": picture("P", 51, 50),
    "one bit": picture("1", 51, 50),
    "CMYK": picture("CMYK", 51, 50, "JPEG"),
}


def pixels_of(about: About, data: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (folder / "photo.jpg").write_bytes(data)
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(snippets.reading(about, margin_of(about.shape[1:], about.eval_resize)), names)
    return names["pixels"]


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize(
    ("fit", "eval_resize"), [("crop", None), ("pad", None), ("squash", None), ("crop", 80), ("crop", 97)]
)
@pytest.mark.parametrize("size", [(32, 32), (24, 40), (72, 72), (80, 65)])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_those_of_the_training(
    name: str,
    fit: Any,
    eval_resize: int | None,
    size: tuple[int, int],
    channels: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, reading = PICTURES[name], Reading(fit, "#102030", channels, eval_resize)
    about = about_of(channels, size, fit=fit, background="#102030", eval_resize=eval_resize)
    pixels = pixels_of(about, data, tmp_path, monkeypatch)
    shown = whole(decode(tmp_path / "photo.jpg", reading), size, reading)
    expected = np.asarray(shown).reshape(*size, channels)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (1, channels, *size)
    np.testing.assert_array_equal(pixels[0].transpose(1, 2, 0), expected)


@pytest.mark.parametrize("name", ["wide", "grey", "alpha"])
@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_averaged_as_those_of_the_training(
    name: str, fit: Any, channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = Reading(fit, "#102030", channels, averaged_from=(48, 40))
    about = about_of(channels, (32, 16), fit=fit, background="#102030", averaged_from=(48, 40))
    pixels = pixels_of(about, PICTURES[name], tmp_path, monkeypatch)
    shown = whole(decode(tmp_path / "photo.jpg", reading), (32, 16), reading)
    np.testing.assert_array_equal(pixels[0].transpose(1, 2, 0), np.asarray(shown).reshape(32, 16, channels))


def test_a_picture_of_16_bits_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.full((40, 40), 40000, np.uint16)).save(buffer, "PNG")
    with pytest.raises(ValueError, match="8 bits"):
        pixels_of(about_of(), buffer.getvalue(), tmp_path, monkeypatch)


def test_images_that_are_no_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = pixels_of(about_of(5, (8, 9)), b"", tmp_path, monkeypatch)
    assert (pixels.dtype, pixels.shape) == (np.uint8, (1, 5, 8, 9))


@pytest.mark.parametrize("form", ["onnx", "pt2"])
def test_values_are_those_that_the_file_takes(form: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """0 to 255, 0 to 1, or normalised by the mean and deviation in the metadata of the file."""
    pixels = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(1, 2, 4, 4)
    scaled = pixels.astype(np.float64) / 255
    mean, std = np.array([0.5, 0.25]), np.array([0.5, 0.125])
    expected = {
        "0-255": pixels,
        "0-1": scaled,
        "normalised": (scaled - mean.reshape(2, 1, 1)) / std.reshape(2, 1, 1),
    }
    for values, images in expected.items():
        about = about_of(2, (4, 4), values=values, mean=(0.5, 0.25), std=(0.5, 0.125))
        code = snippets.use(form, about, f"model.{form}")
        shown = ran(code, about, pixels)
        assert shown.dtype == (np.uint8 if values == "0-255" else np.float32)
        np.testing.assert_allclose(shown, images, rtol=1e-6)


def ran(code: str, about: About, pixels: Any) -> Any:
    """What the lines before the call of a network make of pixels."""
    before = re.split(r"\n(?:\(logits,\)|with torch)", code)[0]
    lines = [line for line in before.splitlines() if "onnxruntime" not in line and "network =" not in line]
    lines = [re.sub(r"about = .*", "about = metadata", line) for line in lines]
    names: dict[str, Any] = {"pixels": pixels, "np": np, "json": json, "metadata": about.to_metadata()}
    exec("\n".join(lines), names)
    return names.get("images", names["pixels"])


@pytest.mark.parametrize("values", ["0-255", "0-1", "normalised"])
def test_a_cascade_is_shown_what_it_takes(values: Any) -> None:
    pixels = np.full((1, 2, 4, 4), 51, np.uint8)
    about = about_of(2, (4, 4), values=values, mean=(0.5, 0.25), std=(0.5, 0.125))
    shown: list[Any] = []

    class Cascade:
        about: ClassVar[dict[str, Any]] = {"mean": [0.5, 0.25], "std": [0.5, 0.125]}
        classes = ("cat", "dog")

        def predict(self, images: Any) -> tuple[Any, None]:
            shown.append(images)
            return np.array([[0.0, 1.0]]), None

    code = snippets.cascade(about).replace("from cascade import Cascade\n", "")
    exec(code, {"pixels": pixels, "np": np, "Cascade": Cascade})
    expected = {"0-255": (51, 51), "0-1": (0.2, 0.2), "normalised": (-0.6, -0.4)}[values]
    np.testing.assert_allclose(shown[0][0, :, 0, 0], expected, rtol=1e-6)
    assert shown[0].dtype == (np.uint8 if values == "0-255" else np.float32)


def test_weights_alone_take_normalised_images() -> None:
    about = about_of(3, (4, 4), mean=(0.5, 0.25, 0.125), std=(0.5, 0.5, 0.25))
    code = snippets.use("safetensors", about, "model.safetensors")
    seen: list[torch.Tensor] = []

    class Network:
        class_names = ("cat", "dog")

        def __call__(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(images)
            return torch.tensor([[0.0, 1.0]])

    names = {"pixels": np.full((1, 3, 4, 4), 255, np.uint8)}

    class Load:
        @staticmethod
        def load(path: str) -> Network:
            return Network()

    exec(code.replace("import cohobate\n", ""), {**names, "cohobate": Load})
    torch.testing.assert_close(seen[0][0, :, 0, 0], torch.tensor([1.0, 1.5, 3.5]))


@pytest.mark.parametrize("form", ["onnx", "pt2", "safetensors"])
def test_the_name_of_a_file_is_a_text_and_no_code(form: Any) -> None:
    name = f'a"); print("run") #\\ \'.{form}'
    found = ast.parse(snippets.use(form, about_of(), name))
    texts = [node.value for node in ast.walk(found) if isinstance(node, ast.Constant)]
    assert name in texts


@pytest.mark.parametrize(
    ("models", "trust"),
    [
        (("resnet8:shortcut=padding",), False),
        (("timm:resnet18.a1_in1k:drop_rate=0.1",), False),
        (("torchvision:resnet18",), False),
        (("net.py:make",), True),
        (("my.networks:make:width=8",), True),
        (("C:\\me\\net.py:make",), True),
        (("resnet8", "net.py:make"), True),
    ],
)
def test_code_of_ones_own_is_trusted_by_a_word(models: tuple[str, ...], trust: bool) -> None:
    """`cohobate.load` refuses such a file without it."""
    about = about_of(model=models[0], members=models if len(models) > 1 else ())
    code = snippets.use("safetensors", about, "model.safetensors")
    assert ("cohobate.load('model.safetensors', trust=True)" in code) is trust
    assert any(not is_known(parse(model)[0]) for model in models) is trust
