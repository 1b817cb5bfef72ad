"""Data sets of Hugging Face's library: found columns and splits, our reader, and what is refused."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from cohobate.data import hub
from cohobate.data.dataset import Dataset, Files, Images, fingerprint, hold_out
from cohobate.data.hub import Spec
from cohobate.data.loaders import eval_loader, train_loader
from cohobate.data.pictures import PictureError, Reading
from cohobate.data.reader import Care
from cohobate.data.sources import are_pictures, load_data
from cohobate.data.unlabelled import unlabelled

NAMES = ["cat", "dog"]
LABELS = [0, 1, 1, 0, 1, 0]


def encoded(number: int, width: int = 40, height: int = 30) -> bytes:
    """A JPEG whose left edge a camera took as the top."""
    small = np.random.default_rng(number).integers(256, size=(6, 6, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    picture = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    picture.save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def table(**columns: Any) -> datasets.Dataset:
    """Six pictures and their labels, with columns in their place or beside them; None leaves one out."""
    values = {
        "image": [{"bytes": encoded(number), "path": None} for number in range(6)],
        "label": LABELS,
        "caption": list("abcdef"),
    }
    types = {
        "image": datasets.Image(),
        "label": datasets.ClassLabel(names=NAMES),
        "caption": datasets.Value("string"),
    }
    for name, given in columns.items():
        values.pop(name, None), types.pop(name, None)
        if given is not None:
            values[name], types[name] = given
    return datasets.Dataset.from_dict(values, features=datasets.Features(types))


def saved(folder: Path, **splits: datasets.Dataset) -> str:
    datasets.DatasetDict(splits).save_to_disk(folder)
    return f"hf:{folder}"


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Saved: train, test, a validation split, and one of another name."""
    folder = tmp_path_factory.mktemp("hub") / "pets"
    one = table()
    return saved(folder, train=one, validation=one.select([0, 1]), test=one.select([4, 3]), extra=one)


@pytest.fixture(scope="module")
def as_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same pictures as files in class folders."""
    root = tmp_path_factory.mktemp("files") / "pets"
    for number, label in enumerate(LABELS):
        file = root / "train" / NAMES[label] / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(number))
    return root


def load(spec: str, *options: Any, **named: Any) -> Dataset:
    return load_data(spec, Path(), *options, **named)


def refused(spec: str, message: str, error: type[Exception] = ValueError) -> None:
    with pytest.raises(error, match=re.escape(message)):
        load(spec)


@pytest.mark.parametrize("reading", [Reading(), Reading("pad", "black", 1), Reading(eval_resize=20)])
def test_small_images_are_those_of_the_same_files(pets: str, as_files: Path, reading: Reading) -> None:
    ours, files = (load(spec, 16, reading=reading) for spec in (pets, str(as_files)))
    assert isinstance(ours.train, Images)
    assert isinstance(files.train, Images)
    rows = torch.tensor(LABELS).argsort(stable=True)
    assert torch.equal(ours.train.x[rows], files.train.x)
    assert (ours.train.y.tolist(), ours.classes, ours.name) == (LABELS, ("cat", "dog"), "pets")
    assert (ours.mean, ours.std, ours.crop, ours.flip) == (files.mean, files.std, files.crop, files.flip)
    assert ours.val is not None
    assert ours.val.y.tolist() == [0, 1]
    assert ours.test is not None
    assert ours.test().y.tolist() == [1, 0]
    assert ours.notes == (
        "images of column image, labels of column label (train 6, val 2, test 2); columns left: caption",
        "not read: split extra (6 rows)",
        "of 10 images: 10 turned upright (EXIF)",
    )


def test_grey_images(pets: str) -> None:
    assert [load(pets, size, 1).shape for size in (16, 80)] == [(1, 16, 16), (1, 80, 80)]
    with pytest.raises(ValueError, match="are read in 3 channels"):
        load(pets, 16, 2)


@pytest.mark.parametrize("workers", [0, 2])
def test_large_images_stay_in_the_table_and_are_decoded_when_shown(
    pets: str, as_files: Path, workers: int
) -> None:
    ours, files = load(pets, 80), load(str(as_files), 80)
    assert isinstance(ours.train, Files)
    device = torch.device("cpu")
    shown = [
        next(iter(eval_loader(each.train, each, device=device, workers=workers).epoch(0)))
        for each in (ours, files)
    ]
    rows = torch.tensor(LABELS).argsort(stable=True)
    assert torch.equal(shown[0].x[rows], shown[1].x)
    (batch,) = train_loader(ours, batch_size=6, seed=0, device=device, workers=workers).epoch(0)
    assert batch.x.shape == (6, 3, 80, 80)


def test_without_a_size_small_and_equal_pictures_keep_theirs(tmp_path: Path) -> None:
    square = [{"bytes": encoded(number, 20, 20), "path": None} for number in range(6)]
    assert load(saved(tmp_path / "a", train=table(image=(square, datasets.Image())))).shape == (3, 20, 20)
    whole = load(saved(tmp_path / "b", train=table()))
    assert whole.shape == (3, 224, 224)
    assert "images are seen at 224 x 224 pixels, since no --image-size is given" in " ".join(whole.notes)


def test_columns_are_named_where_there_are_several(tmp_path: Path) -> None:
    other = [{"bytes": encoded(9), "path": None}] * 6
    coarse = ([0] * 5 + [1], datasets.ClassLabel(names=["small", "large"]))
    spec = saved(tmp_path / "two", train=table(mask=(other, datasets.Image()), coarse=coarse))
    refused(spec, f"{spec} has 2 columns of images; name one: :image=image or :image=mask")
    refused(f"{spec}:image=mask", "has 2 columns of labels; name one: :label=label or :label=coarse")
    found = load(f"{spec}:image=mask:label=coarse", 8)
    assert found.train.y.tolist() == [0, 0, 0, 0, 0, 1]
    assert isinstance(found.train, Images)
    assert (found.train.x == found.train.x[:1]).all()
    assert load(f"{spec}:label=coarse:image=image", 8).classes == ("small", "large")
    refused(f"{spec}:image=imag", "has no column 'imag'; the nearest are image")
    refused(f"{spec}:image=caption", "column caption of")
    refused(
        f"{spec}:image=mask:label=image",
        "is of type Image, and ClassLabel, a text or a whole number is needed",
    )


def test_labels_that_are_texts_or_numbers(tmp_path: Path) -> None:
    texts = (["b", "a", "b", "a", "c", "c"], datasets.Value("string"))
    one = table(label=texts)
    spec = saved(tmp_path / "texts", train=one, test=one.select([4]))
    refused(spec, "has no column of labels; its columns are image (Image), ")
    refused(spec, "name one by :label=COLUMN: caption, label")
    found = load(f"{spec}:label=label", 8)
    assert (found.classes, found.train.y.tolist()) == (("a", "b", "c"), [1, 0, 1, 0, 2, 2])
    assert found.test is not None
    assert found.test().y.tolist() == [2]
    refused(
        f"{saved(tmp_path / 'more', train=one.select([0, 1]), test=one.select([4]))}:label=label",
        "has a class 'c' that train does not have",
    )
    numbers = load(
        saved(tmp_path / "n", train=table(label=([10, 9] * 3, datasets.Value("int64")))) + ":label=label", 8
    )
    assert (numbers.classes, numbers.train.y.tolist()) == (("9", "10"), [1, 0] * 3)


def test_a_split_without_labels_is_left_out_and_single_rows_are_refused(tmp_path: Path) -> None:
    hidden = table(label=([-1] * 6, datasets.ClassLabel(names=NAMES)))
    found = load(saved(tmp_path / "hidden", train=table(), test=hidden), 8)
    assert found.test is None
    assert "not read: the test split, which has no labels (they are -1)" in found.notes
    some = table(label=([0, 1, -1, 0, 1, 1], datasets.ClassLabel(names=NAMES)))
    refused(saved(tmp_path / "some", train=some), "row 2 of train in")
    refused(saved(tmp_path / "all", train=hidden), "row 0 of train in")


def test_splits(tmp_path: Path) -> None:
    one = table()
    refused(saved(tmp_path / "none", all=one, some=one), "has no split train; its splits are all, some")
    refused(saved(tmp_path / "two", train=one, val=one, dev=one), "has both val and dev")
    one.save_to_disk(tmp_path / "single")
    assert len(load(f"hf:{tmp_path / 'single'}", 8).train) == 6


def test_a_row_without_a_picture_and_a_damaged_one(tmp_path: Path) -> None:
    """A path in a row is not followed: it could lead to any file."""
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    rows = [{"bytes": encoded(number), "path": None} for number in range(5)]
    linked = table(image=([*rows, {"bytes": None, "path": str(tmp_path / "secret.png")}], datasets.Image()))
    with pytest.raises(
        ValueError, match=r"row 5 of train holds no picture \(a path to a file is not followed"
    ):
        list(hub._listing("train", linked, "image", torch.zeros(6))[0])
    cut = table(image=([*rows, {"bytes": encoded(5)[:300], "path": None}], datasets.Image()))
    spec = saved(tmp_path / "cut", train=cut)
    refused(spec, f"1 of 6 image files cannot be read: row 5 of train in {spec}: ")
    kept = load(spec, 8, care=Care(skip=True))
    assert len(kept.train) == 5
    assert any(note.startswith(f"1 unreadable file skipped: row 5 of train in {spec}") for note in kept.notes)
    with pytest.raises(PictureError, match=re.escape(f"row 5 of train in {spec} cannot be decoded")):
        load(spec, 8, care=Care(check=False))


def test_the_files_of_a_saved_data_set_lie_in_its_folder(pets: str, tmp_path: Path) -> None:
    folder = tmp_path / "pets"
    shutil.copytree(pets.removeprefix("hf:"), folder)
    state = folder / "train" / "state.json"
    sound = state.read_text()
    for name in ("../../other.arrow", "/etc/passwd", "..", 7):
        state.write_text(json.dumps({**json.loads(sound), "_data_files": [{"filename": name}]}))
        refused(f"hf:{folder}", f"{state} names {name!r}, and names of files in its folder are expected")
    state.write_text(sound)
    (arrow,) = (folder / "train").glob("*.arrow")
    content = arrow.read_bytes()
    (tmp_path / "outside.arrow").write_bytes(content)
    arrow.unlink()
    refused(f"hf:{folder}", f"{arrow} is not there; save the data set again", FileNotFoundError)
    arrow.symlink_to(tmp_path / "outside.arrow")
    refused(f"hf:{folder}", f"{arrow} is a link that leaves {folder}")
    arrow.unlink()
    arrow.write_bytes(content[: len(content) // 2])
    refused(f"hf:{folder}", "save it again by save_to_disk")
    splits = folder / "dataset_dict.json"
    splits.write_text(json.dumps({"splits": ["../pets/train"]}))
    refused(f"hf:{folder}", f"{splits} names '../pets/train'")
    splits.write_text("{")
    refused(f"hf:{folder}", f"{splits} is damaged")
    refused(f"hf:{tmp_path}", "holds neither dataset_dict.json nor state.json")
    refused(f"hf:{tmp_path}/nowhere", f"no folder {tmp_path}/nowhere", FileNotFoundError)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf:cifar10", ("cifar10", None, None, None, None)),
        ("hf:user/set:plain_text", ("user/set", "plain_text", None, None, None)),
        ("hf:user/set:v-1.2:label=fine", ("user/set", "v-1.2", None, None, "fine")),
        ("hf:set:image=img:label=fine", ("set", None, None, "img", "fine")),
        ("hf:./saved:image=img", (None, None, Path("saved"), "img", None)),
        ("hf:/data/a:b", (None, None, Path("/data/a:b"), None, None)),
    ],
)
def test_notation(text: str, expected: tuple[Any, ...]) -> None:
    assert Spec.of(text)[1:] == expected
    assert are_pictures(text, Path())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hf:", "'hf:' has no name; write hf:NAME"),
        ("hf:set:img=a", "'hf:set:img=a' has img=a; write hf:NAME"),
        ("hf:set:label=a:label=b", "has an option twice"),
    ],
)
def test_notation_that_cannot_be(text: str, message: str) -> None:
    refused(text, message)


def test_the_hub_is_asked_for_a_name_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """No code of it may run, and no row is streamed: nothing says that they should."""
    asked: list[Any] = []

    def unreachable(*arguments: Any, **named: Any) -> None:
        asked.append((arguments, named))
        raise ConnectionError("Couldn't reach it\nat all")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    refused(
        "hf:nobody/nothing", "hf:nobody/nothing cannot be loaded: Couldn't reach it; is the name right, and"
    )
    refused(
        "hf:a/b:small:label=x", "A data set that save_to_disk has saved is given by its path, hf:./FOLDER"
    )
    assert asked == [(("nobody/nothing", None), {}), (("a/b", "small"), {})]


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    message = "--data hf:set needs datasets; install it: pip install 'cohobate[hf]'"
    refused("hf:set", message, ImportError)


def test_a_release_that_could_run_code_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "__version__", "3.6.0")
    refused("hf:set", "datasets 3.6.0 can run code of the hub; install 4 or later", ImportError)


def test_identity_division_and_unlabelled_images(pets: str, as_files: Path, tmp_path: Path) -> None:
    large = load(pets, 80)
    assert fingerprint(large) == fingerprint(load(pets, 80)) != fingerprint(load(pets, 16))
    changed = saved(tmp_path / "pets", train=table(), validation=table().select([0, 2]))
    assert fingerprint(load(changed, 80)) != fingerprint(large)
    train = hold_out(load(saved(tmp_path / "one", train=table()), 80), 0.4, 0)
    assert train.val is not None
    assert (len(train.train), len(train.val)) == (4, 2)
    found, _ = unlabelled(pets, Path(), load(str(as_files), 16))
    assert found.shape == (3, 16, 16)
    assert found.y.tolist() == [-100] * 6  # type: ignore[union-attr]
