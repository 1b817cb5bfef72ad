"""``cohobate.predict``: images of every form, by a run, a file or a network in hand."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from handed_over import NAMES, about, hand_over, save_picture
from PIL import Image
from torch import Tensor, nn

import cohobate
from cohobate.cli import main
from cohobate.commands.export import export
from cohobate.data.pictures import PictureError
from cohobate.engine.errors import RunError

NET = "net.safetensors"
KNOWN: dict[str, Any] = {"mean": about().mean, "std": about().std}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predicting")
    hand_over(folder / NET)
    for seed in range(6):
        save_picture(folder / "pets" / f"{seed}.png", seed, (20 + seed, 14))
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(folder / "pets/5.png") as picture:
        picture.save(folder / "pets/6.jpg", exif=exif)
        picture.convert("LA").save(folder / "pets/7.png")
    return folder


@pytest.fixture(autouse=True)
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")


def files() -> list[Path]:
    return sorted(Path("pets").iterdir())


def pictures() -> list[Image.Image]:
    return [Image.open(path) for path in files()]


def pixels(count: int = 5) -> Tensor:
    """uint8 (N, H, W, C), of the network's size."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, 16, 16, 3), dtype=torch.uint8, generator=generator)


def normalised(x: Tensor) -> Tensor:
    mean, std = (torch.tensor(each) for each in (about().mean, about().std))
    return ((x / 255 - mean) / std).permute(0, 3, 1, 2)


# ---------------------------------------------------------------- the same images in every form


def test_what_it_returns() -> None:
    found = cohobate.predict(NET, "pets", top_k=2)
    assert found.names == tuple(map(str, files()))
    assert found.logits.shape == (8, 3)
    assert (found.logits.dtype, found.probabilities.dtype) == (torch.float32, torch.float64)
    expected, classes = found.logits.double().softmax(1).topk(2)
    assert torch.equal(found.probabilities, expected)
    assert found.labels == tuple((NAMES[one], NAMES[two]) for one, two in classes.tolist())
    assert found.label == tuple(pair[0] for pair in found.labels)
    assert (found.stages, found.skipped, found.notes) == (None, (), ())
    assert isinstance(found, cohobate.Predictions)


def test_files_and_pictures_are_read_alike() -> None:
    expected = cohobate.predict(NET, "pets").logits
    assert len(expected.unique(dim=0)) == len(expected)
    twice = ["pets/0.png", "pets"]
    for images in (Path("pets"), files(), [str(path) for path in files()], pictures(), twice):
        assert torch.equal(cohobate.predict(NET, images).logits, expected)
    for images, row in (("pets/3.png", 3), (Image.open("pets/6.jpg"), 6), ([Path("pets/7.png")], 7)):
        torch.testing.assert_close(cohobate.predict(NET, images).logits[0], expected[row])
    assert cohobate.predict(NET, pictures()).names == tuple(range(8))


def test_a_module_reads_them_as_its_file_does() -> None:
    expected = cohobate.predict(NET, "pets")
    network = cohobate.load(NET)
    for images in ("pets", pictures()):
        found = cohobate.predict(network, images, size=16, **KNOWN)
        assert torch.equal(found.logits, expected.logits)
        assert found.labels == expected.labels  # the module knows its classes
    found = cohobate.predict(network, "pets", size=(16, 16), classes=["x", "y", "z"], **KNOWN)
    assert found.label == tuple("xyz"[NAMES.index(label)] for label in expected.label)


def test_bytes_of_the_size_of_the_network() -> None:
    x = pixels()
    with torch.no_grad():
        expected = cohobate.load(NET)(normalised(x))
    network = cohobate.load(NET)
    for found in (
        cohobate.predict(NET, x),
        cohobate.predict(NET, x.numpy()),
        cohobate.predict(NET, x.numpy()[::-1].copy()[::-1]),
        cohobate.predict(network, x, **KNOWN),
        cohobate.predict(network, x.numpy(), size=16, **KNOWN),
        cohobate.predict(network, normalised(x)),
        cohobate.predict(network, normalised(x).numpy().astype(np.float64)),
    ):
        torch.testing.assert_close(found.logits, expected, rtol=1e-4, atol=1e-5)
        assert found.names == (0, 1, 2, 3, 4)
    assert torch.equal(cohobate.predict(NET, x).logits, cohobate.predict(network, x, **KNOWN).logits)


def test_large_bytes_are_not_cut_as_pictures_of_that_size_are() -> None:
    file = hand_over("large.safetensors", shape=(3, 72, 72))
    x = torch.randint(256, (2, 72, 72, 3), dtype=torch.uint8)
    with torch.no_grad():
        expected = cohobate.load(file)(normalised(x))
    torch.testing.assert_close(cohobate.predict(file, x).logits, expected, rtol=1e-4, atol=1e-5)
    read = cohobate.predict(file, [Image.fromarray(each.numpy()) for each in x]).logits
    assert not torch.allclose(read, expected, rtol=1e-2)


def test_a_run_and_its_onnx_file(tmp_path: Path) -> None:
    train = ["--data", "digits", "--model", "resnet8", "--epochs", "1", "--train-images", "200"]
    main(["train", "baseline", *train, "--device", "cpu", "--quiet", "--out", "run"])
    export(Path("run"), ("onnx",))
    last, best = cohobate.predict("run", "pets"), cohobate.predict(Path("run"), "pets", weights="best")
    assert set(last.label) <= set("0123456789")
    torch.testing.assert_close(
        cohobate.predict("run/export/model.onnx", "pets").logits, last.logits, rtol=1e-4, atol=1e-4
    )
    assert torch.equal(best.logits, cohobate.predict("run/deployed-best.safetensors", "pets").logits)


def test_a_module_stays_as_it_is() -> None:
    layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Dropout(), nn.Flatten(), nn.Linear(8 * 14 * 14, 2)
    network = nn.Sequential(*layers)
    network[0].eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    x = torch.randn(4, 3, 16, 16)
    found = cohobate.predict(network, x)
    assert [module.training for module in network] == [False, True, True, True, True]
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    with torch.no_grad():
        assert torch.equal(found.logits, network.eval()(x))  # without dropout, by the stored statistics
    assert set(found.label) <= {"0", "1"}
    assert not found.logits.requires_grad


def test_a_grey_module_of_double_precision() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12 * 10, 3)).double()
    with Image.open(save_picture("grey.png", 5, (12, 10))) as picture:
        grey = torch.from_numpy(np.array(picture.convert("RGB").convert("L")))
    found = cohobate.predict(network, "grey.png", mean=[0.5], std=[0.25], size=(10, 12))
    with torch.no_grad():
        expected = network(((grey.double() / 255 - 0.5) / 0.25)[None]).float()
    torch.testing.assert_close(found.logits, expected, rtol=1e-5, atol=1e-6)


def test_a_reading_of_ones_own() -> None:
    network = cohobate.load(NET)
    file = hand_over("padded.safetensors", fit="pad", background="#102030")
    reading = cohobate.Reading("pad", "#102030")
    found = cohobate.predict(network, "pets", size=16, reading=reading, **KNOWN).logits
    assert torch.equal(found, cohobate.predict(file, "pets").logits)
    assert not torch.equal(found, cohobate.predict(NET, "pets").logits)


def test_a_cascade_says_where_images_left() -> None:
    file = hand_over("sum.safetensors", ("resnet8", "resnet8"), found={"threshold": 0.5})
    cascade = cohobate.load(file, adaptive=True, threshold=0.6)
    x = normalised(pixels(20))
    found = cohobate.predict(cascade, x)
    with torch.no_grad():
        logits, stages = cascade.exits(x)
    assert torch.equal(found.logits, logits)
    assert found.stages is not None
    assert torch.equal(found.stages, stages)
    assert cohobate.predict(file, pixels(20), adaptive=True).stages is not None


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_batches_of_any_size(batch_size: int) -> None:
    Path("pets/2.png").write_bytes(b"")
    found = cohobate.predict(NET, "pets", batch_size=batch_size)
    expected = cohobate.predict(NET, [path for path in files() if path.name != "2.png"])
    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-4, atol=1e-5)
    assert found.names == expected.names


def test_what_cannot_be_read_is_in_the_answer() -> None:
    Path("pets/2.png").write_bytes(b"")
    Path("pets/notes.txt").write_text("")
    Path("pets/gone.png").symlink_to("nowhere")
    found = cohobate.predict(NET, ["pets", "pets/1.png"])
    assert [skipped.name for skipped in found.skipped] == ["pets/gone.png", "pets/2.png"]
    assert found.skipped[1].reason == "it is no image, or of a format that Pillow does not know"
    assert found.notes == (
        "not read in pets: 1 .txt (notes.txt)",
        "1 image named more than once, predicted once",
    )
    whole = Path("pets/3.png").read_bytes()
    cut = Image.open(io.BytesIO(whole[:200]))
    found = cohobate.predict(NET, [Image.open("pets/0.png"), cut])
    assert (found.names, found.skipped[0].name) == ((0,), 1)
    with pytest.raises(PictureError, match=r"pets/gone\.png cannot be read: it is a link to nowhere"):
        cohobate.predict(NET, "pets", strict=True)
    with pytest.raises(PictureError, match="image 0 cannot be read: "):
        cohobate.predict(NET, Image.open(io.BytesIO(whole[:200])), strict=True)
    with pytest.raises(RunError, match=r"the image cannot be read: pets/2\.png: it is no image"):
        cohobate.predict(NET, "pets/2.png")


# ---------------------------------------------------------------- what is refused


class Gives(nn.Module):
    """Logits of this shape."""

    def __init__(self, *shape: int, value: float = 0.0) -> None:
        super().__init__()
        self.shape, self.value = shape, value

    def forward(self, x: Tensor) -> Tensor:
        return torch.full((len(x), *self.shape), self.value)


F, GREY = torch.zeros, cohobate.Reading(channels=1)
REFUSED: list[tuple[Any, Any, dict[str, Any], str]] = [
    (NET, "pets", {"mean": (0.5,) * 3}, r"mean is for a network in hand, not for net\.safetensors, "),
    (NET, "pets", {"classes": ["a"]}, "classes is for a network in hand"),
    (NET, F(2, 3, 16, 16), {}, "floating images that are normalised already are for a network in hand"),
    (NET, F(2, 16, 16, 3).long(), {}, r"got torch.int64 of \(2, 16, 16, 3\)"),
    (NET, F(2, 3, 16, 16).byte(), {}, r"are uint8 \(N, 16, 16, 3\), got \(2, 3, 16, 16\)"),
    (NET, F(2, 17, 16, 3).byte(), {}, r"got \(2, 17, 16, 3\); pictures of other sizes"),
    (NET, F(16, 16, 3).byte(), {}, r"got \(16, 16, 3\)"),
    (NET, F(0, 16, 16, 3).byte(), {}, "no images: the array has none"),
    (NET, [], {}, "no images: name files or folders of them"),
    (NET, [F(16, 16, 3).byte()], {}, "got a list of Tensor"),
    (NET, ["pets", Image.new("L", (3, 3))], {}, "got a list of Image, str"),
    (NET, "pets", {"top_k": 4}, r"top_k must be 1 to 3, got 4: net\.safetensors predicts 3 classes"),
    (NET, "pets", {"top_k": 0}, "top_k must be 1 to 3, got 0"),
    (NET, "pets", {"weights": "bset"}, "unknown weights 'bset'; there are last, best, the nearest is best"),
    (Gives(2), "pets", {"weights": "bset"}, "unknown weights 'bset'"),
    (Gives(2), "pets", {**KNOWN, "size": 8.5}, "size is a whole number of pixels, or .*, got 8.5"),
    (Gives(2), "pets", {**KNOWN, "size": (8, 8, 3)}, r"size is a whole number .*, got \(8, 8, 3\)"),
    (NET, "pets", {"batch_size": 0}, "batch_size must be at least 1, got 0"),
    (Gives(2), F(2, 3, 4, 4), {"top_k": 3}, "top_k must be 1 to 2, got 3: Gives predicts 2 classes"),
    (Gives(2), "pets", {}, "give mean, std, size; or the path of its run"),
    (Gives(2), "pets", {**KNOWN}, "give size; or the path"),
    (Gives(2), F(2, 4, 4, 3).byte(), {}, "give mean, std; or the path"),
    (Gives(2), F(2, 4, 4, 1).byte(), {**KNOWN}, r"are uint8 \(N, H, W, 3\), got \(2, 4, 4, 1\)"),
    (Gives(2), F(2, 4, 4, 3).byte(), {**KNOWN, "size": 5}, r"are uint8 \(N, 5, 5, 3\), got \(2, 4, 4, 3\)"),
    (Gives(2), "pets", {"mean": (0.5,), "size": 3}, r"mean \(0\.5,\) and std None go together"),
    (Gives(2), "pets", {"mean": (0.5,), "std": (0.5, 1), "size": 3}, "must have a number for each channel"),
    (Gives(2), "pets", {"mean": (0.5,), "std": (0.0,), "size": 3}, "those of std must be above 0"),
    (Gives(2), "pets", {**KNOWN, "size": 0}, "size must be at least 1 pixel, got 0"),
    (Gives(2), "pets", {"mean": (1, 1), "std": (1, 1), "size": 3}, "in 3 channels .RGB. or 1 .grey., got"),
    (Gives(2), "pets", {**KNOWN, "size": 3, "reading": GREY}, "3 numbers and the reading 1 channel;"),
    (Gives(2), F(2, 3, 4, 4), {**KNOWN}, "mean is for pictures and bytes, not for images that are norm"),
    (Gives(2), F(3, 4, 4), {}, r"normalised images are \(N, C, H, W\), got \(3, 4, 4\)"),
    (Gives(2), F(2, 3, 4, 4), {"classes": "abc"}, "Gives predicts 2 classes, 3 are named"),
    (Gives(2), F(2, 3, 4, 4), {"device": "cpu"}, "device is for a run or a file, not for a network in hand"),
    (Gives(2), F(2, 3, 4, 4), {"weights": "best"}, "weights is for a run or a file"),
    (Gives(2), F(2, 3, 4, 4), {"adaptive": True}, "adaptive is for a run or a file"),
    (Gives(2, 5, 5), F(2, 3, 4, 4), {}, r"Gives gives logits of shape \(1, 2, 5, 5\) for 1 image of 4 x 4"),
]


@pytest.mark.parametrize(("network", "images", "options", "message"), REFUSED)
def test_one_line_says_what_is_wrong(
    network: Any, images: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as error:
        cohobate.predict(network, images, **options)
    assert "\n" not in str(error.value)


def test_what_is_not_there() -> None:
    with pytest.raises(FileNotFoundError, match=r"pets/9\.png is not there; the nearest in pets: "):
        cohobate.predict(NET, ["pets/1.png", "pets/9.png"])
    with pytest.raises(FileNotFoundError, match=r"net\.safetensor is not there; the nearest in \.: net\.saf"):
        cohobate.predict("net.safetensor", "pets")


def test_logits_that_are_not_finite() -> None:
    with pytest.raises(RunError, match="the logits of image 0 are not finite"):
        cohobate.predict(Gives(2, value=float("inf")), F(2, 3, 4, 4))
    with pytest.raises(RunError, match=r"the logits of pets/0\.png are not finite"):
        cohobate.predict(Gives(2, value=float("nan")), "pets", size=8, **KNOWN)


def test_a_size_of_numpy() -> None:
    module = Gives(2)
    found = [cohobate.predict(module, "pets", size=size, **KNOWN) for size in (8, np.int64(8))]
    found.append(cohobate.predict(module, "pets", size=(np.int32(8), np.uint8(8)), **KNOWN))  # type: ignore[arg-type]
    assert found[0].names == found[1].names == found[2].names


def test_a_network_of_a_cascade_alone_predicts_nothing() -> None:
    file = hand_over("stage.safetensors", stage=(2, 3))
    message = "is network 2 of the 3 of a cascade, whose logits are summed.*; give the run, with --adaptive"
    with pytest.raises(ValueError, match=message):
        cohobate.predict(file, "pets")
