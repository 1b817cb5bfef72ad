"""The data sets of picture files, on small files in the layouts that their downloads have."""

from __future__ import annotations

import csv
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cohobate.data.areas import area_means
from cohobate.data.dataset import Dataset, Files, Images, fingerprint
from cohobate.data.pictures import Reading
from cohobate.data.reader import Care
from cohobate.data.sets import SETS, cinic10, fer2013, imagenet, source, tiny_imagenet
from cohobate.data.sets.listed import inside
from cohobate.data.sources import load_data, sets_in


def noise(side: int, seed: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, channels), np.uint8)


def picture(side: int, seed: int, format: str = "png") -> bytes:
    file = io.BytesIO()
    Image.fromarray(noise(side, seed)).save(file, format)
    return file.getvalue()


def write(file: Path, content: bytes | str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)


def pack_tar(files: dict[str, bytes], archive: Path) -> None:
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def pack_zip(files: dict[str, bytes], archive: Path) -> None:
    with zipfile.ZipFile(archive, "w") as opened:
        for name, content in files.items():
            opened.writestr(name, content)


def lay_out(files: dict[str, bytes], root: Path) -> None:
    for name, content in files.items():
        write(root / name, content)


def same(first: Dataset, second: Dataset) -> None:
    """The same images in the same order in all splits, and the same facts."""
    assert fingerprint(first) == fingerprint(second)
    assert first.test is not None
    assert second.test is not None
    one, other = first.test(), second.test()
    assert isinstance(one, Images)
    assert isinstance(other, Images)
    assert torch.equal(one.x, other.x)
    assert torch.equal(one.y, other.y)
    for key in ("name", "classes", "mean", "std", "crop", "flip", "resized_crop"):
        assert getattr(first, key) == getattr(second, key)


def pixels_of(split: object) -> torch.Tensor:
    assert isinstance(split, Images)
    return split.x


# ---------------------------------------------------------------- every set


@pytest.mark.parametrize("name", [name for name in SETS if name != "digits"])
def test_a_set_that_is_not_there_says_where_it_was_looked_for_and_where_to_get_it(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        load_data(name, tmp_path)
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert SETS[name].address in str(raised.value)
    assert name.startswith("cifar") or SETS[name].layouts in str(raised.value)
    assert source(name).whereabouts(tmp_path).place is None


# ---------------------------------------------------------------- averaging


@pytest.mark.parametrize("size", [(32, 32), (16, 16), (20, 36), (48, 1)])
def test_a_pixel_is_the_mean_over_its_area(size: tuple[int, int]) -> None:
    x = torch.from_numpy(np.stack([noise(48, seed) for seed in range(2)]))
    # Each pixel is cut into so many that those of the result hold whole ones.
    fine = x.repeat_interleave(size[0], 1).repeat_interleave(size[1], 2).double()
    blocks = fine.view(2, size[0], 48, size[1], 48, 3)
    assert torch.equal(area_means(x, size), blocks.mean((2, 4)).add(0.5 + 1e-9).floor().to(torch.uint8))


# ---------------------------------------------------------------- FER-2013

ROWS = {"Training": 8, "PublicTest": 7, "PrivateTest": 7}


def faces() -> list[tuple[str, int, np.ndarray]]:
    """Usage, label and grey pixels; every class in every split."""
    return [
        (usage, row % 7, noise(48, 100 * number + row, 1)[..., 0])
        for number, (usage, rows) in enumerate(ROWS.items())
        for row in range(rows)
    ]


def write_table(file: Path, columns: tuple[str, ...] = ("emotion", "pixels", "Usage")) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        for usage, label, grey in faces():
            cells = {"emotion": label, "pixels": " ".join(map(str, grey.reshape(-1))), "usage": usage}
            writer.writerow([cells[column.strip().lower()] for column in columns])


def face_files(folders: dict[str, str], capital: bool = False) -> dict[str, bytes]:
    files = {}
    for row, (usage, label, grey) in enumerate(faces()):
        file = io.BytesIO()
        Image.fromarray(grey).save(file, "png")
        name = fer2013.CLASSES[label]
        name = name.title() if capital else name
        files[f"fer2013/{folders[usage]}/{name}/{usage}_{1000 + row}.png"] = file.getvalue()
    return files


THREE = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
TWO = {"Training": "train", "PublicTest": "test", "PrivateTest": "test"}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    write_table(tmp_path / "csv" / "fer2013.csv")
    return tmp_path / "csv"


def test_fer2013_is_read_from_its_csv(table: Path) -> None:
    dataset = load_data("fer2013", table)
    assert dataset.classes == ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    assert (dataset.shape, dataset.crop, dataset.flip) == ((3, 32, 32), 4, True)
    assert dataset.val is not None
    assert dataset.test is not None
    assert [len(dataset.train), len(dataset.val), len(dataset.test())] == list(ROWS.values())
    assert dataset.train.y.tolist() == [0, 1, 2, 3, 4, 5, 6, 0]
    assert dataset.notes == (
        "not the published number of images: train has 8 of 28,709, val has 7 of 3,589, test has 7 of 3,589",
        "images are averaged from 48 x 48 to 32 x 32 pixels",
    )
    whole = load_data("fer2013", table, 48)
    assert whole.test is not None
    for split, usage in ((whole.train, "Training"), (whole.val, "PublicTest"), (whole.test(), "PrivateTest")):
        grey = np.stack([grey for of, _, grey in faces() if of == usage])
        assert np.array_equal(pixels_of(split).numpy(), np.stack([grey] * 3, axis=-1))


@pytest.mark.parametrize(
    ("file", "columns"),
    [
        ("fer2013/fer2013.csv", ("emotion", "pixels", "Usage")),
        ("icml_face_data.csv", ("emotion", " Usage", " pixels")),
    ],
)
def test_both_editions_of_the_csv_are_the_same(
    table: Path, tmp_path: Path, file: str, columns: tuple[str, ...]
) -> None:
    write_table(tmp_path / "other" / file, columns)
    same(load_data("fer2013", table), load_data("fer2013", tmp_path / "other"))


def test_the_archive_of_the_csv_is_read_in_place(table: Path, tmp_path: Path) -> None:
    (tmp_path / "packed").mkdir()
    archive = tmp_path / "packed/fer2013.tar.gz"
    pack_tar({"fer2013/README": b"", "fer2013/fer2013.csv": (table / "fer2013.csv").read_bytes()}, archive)
    same(load_data("fer2013", table), load_data("fer2013", tmp_path / "packed"))
    assert [path.name for path in (tmp_path / "packed").iterdir()] == ["fer2013.tar.gz"]
    archive.write_bytes(archive.read_bytes()[:-4000])
    with pytest.raises(ValueError, match=r"fer2013.tar.gz is damaged or truncated"):
        load_data("fer2013", tmp_path / "packed")
    pack_tar({"fer2013/README": b""}, archive)
    with pytest.raises(ValueError, match=r"fer2013.tar.gz does not hold fer2013.csv"):
        load_data("fer2013", tmp_path / "packed")


@pytest.mark.parametrize(("folders", "capital"), [(THREE, False), (TWO, True)])
@pytest.mark.parametrize("size", [None, 48, 16])
def test_the_folders_of_fer2013_are_its_csv(
    table: Path, tmp_path: Path, folders: dict[str, str], capital: bool, size: int | None
) -> None:
    lay_out(face_files(folders, capital), tmp_path)
    read, of_table = load_data("fer2013", tmp_path, size), load_data("fer2013", table, size)
    assert read.shape == of_table.shape
    assert read.crop == of_table.crop
    assert read.notes == of_table.notes
    assert read.test is not None
    assert of_table.test is not None
    pairs = ((read.train, of_table.train), (read.val, of_table.val), (read.test(), of_table.test()))
    for one, other in pairs:
        assert isinstance(one, Images)
        assert isinstance(other, Images)
        # The folders are in the order of their names, the rows in any.
        order, by_label = other.y.argsort(stable=True), one.y.argsort(stable=True)
        assert torch.equal(one.y[by_label], other.y[order])
        assert torch.equal(one.x[by_label], other.x[order])
    same(read, load_data("fer2013", tmp_path / "fer2013", size))


def test_a_face_in_the_folder_of_another_split_is_refused(tmp_path: Path) -> None:
    files = face_files(THREE)
    lay_out(files, tmp_path)
    write(tmp_path / "fer2013/train/sad/PrivateTest_7.png", picture(48, 1))
    with pytest.raises(ValueError, match=r"PrivateTest_7.png is of the test split by its name, and lies in"):
        load_data("fer2013", tmp_path)


def test_a_class_that_fer2013_does_not_have_is_refused(tmp_path: Path) -> None:
    lay_out(face_files(THREE), tmp_path)
    write(tmp_path / "fer2013/train/bored/Training_7.png", picture(48, 1))
    with pytest.raises(ValueError, match=r"has a folder 'bored'; the classes are angry, disgust, .* neutral"):
        load_data("fer2013", tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda rows: rows[:1], "no training image of class 'angry' and 6 more"),
        (lambda rows: [["emotion", "Usage"], *rows[1:]], "has no column pixels"),
        (lambda rows: [*rows[:3], ["7", rows[3][1], "Training"]], r"line 4: emotion must be 0 to 6, got '7'"),
        (lambda rows: [*rows[:3], ["x", rows[3][1], "Training"]], r"line 4: emotion must be 0 to 6, got 'x'"),
        (
            lambda rows: [*rows[:3], ["1", rows[3][1], "Test"]],
            r"line 4: Usage 'Test' is none of Training",
        ),
        (
            lambda rows: [*rows[:3], ["1", "256 " * 2304, "Training"]],
            r"line 4: pixels must be whole",
        ),
        (lambda rows: [*rows[:3], ["1", "5 5", "Training"]], r"line 4: pixels must be 2,304 numbers, got 2"),
        (lambda rows: [*rows[:3], ["1"]], r"line 4: 1 columns, cut short\?"),
    ],
)
def test_a_damaged_row_is_named_by_its_line(
    table: Path, damage: Callable[[list[list[str]]], list[list[str]]], message: str
) -> None:
    file = table / "fer2013.csv"
    with file.open(newline="") as stream:
        rows = damage(list(csv.reader(stream)))
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    with pytest.raises(ValueError, match=message):
        load_data("fer2013", table)


def test_what_is_for_pictures_is_refused_with_the_csv(table: Path) -> None:
    with pytest.raises(ValueError, match="fit pad is for pictures in files; fer2013's CSV is read as it is"):
        load_data("fer2013", table, reading=Reading("pad"))
    with pytest.raises(ValueError, match=r"fer2013 are 48 x 48 pixels and only made smaller, got .* 64 x 64"):
        load_data("fer2013", table, 64)


# ---------------------------------------------------------------- CINIC-10


def cinic_files() -> dict[str, bytes]:
    splits = {"train": 2, "valid": 1, "test": 1}
    return {
        f"{split}/{name}/cifar10-{split}-{9 - row}.png": picture(32, 1000 * place + 10 * label + row)
        for place, (split, rows) in enumerate(splits.items())
        for label, name in enumerate(cinic10.CLASSES)
        for row in range(rows)
    }


def test_cinic10_is_the_same_from_its_folder_and_its_archive(tmp_path: Path) -> None:
    files = cinic_files()
    lay_out(files, tmp_path / "unpacked" / "CINIC-10")
    (tmp_path / "packed").mkdir()
    pack_tar({f"./{name}": content for name, content in files.items()}, tmp_path / "packed/CINIC-10.tar.gz")
    read, packed = load_data("cinic10", tmp_path / "unpacked"), load_data("cinic10", tmp_path / "packed")
    same(read, packed)
    assert (read.shape, read.crop, read.flip) == ((3, 32, 32), 4, True)
    assert read.val is not None
    assert len(read.train) == 20
    assert len(read.val) == 10
    assert torch.equal(pixels_of(read.train)[0], torch.from_numpy(noise(32, 1)))
    assert packed.notes[0].startswith("not the published number of images: train has 20 of 90,000")
    assert sorted(path.name for path in (tmp_path / "packed").iterdir()) == ["CINIC-10.tar.gz"]
    half = [load_data("cinic10", tmp_path / folder, 16) for folder in ("unpacked", "packed")]
    same(*half)
    assert half[0].shape == (3, 16, 16)
    assert half[0].notes == half[1].notes


def test_a_damaged_archive_or_picture_in_it_is_an_error(tmp_path: Path) -> None:
    archive, files = tmp_path / "CINIC-10.tar.gz", cinic_files()
    pack_tar(files, archive)
    archive.write_bytes(archive.read_bytes()[:-3000])
    with pytest.raises(ValueError, match=r"CINIC-10.tar.gz is damaged or truncated"):
        load_data("cinic10", tmp_path)
    pack_tar({**files, "train/cat/odd.png": picture(31, 0)}, archive)
    with pytest.raises(ValueError, match=r"train/cat/odd.png is 31 x 31 pixels, and all should be 32 x 32"):
        load_data("cinic10", tmp_path)
    pack_tar({**files, "train/cat/odd.png": b"no picture"}, archive)
    with pytest.raises(ValueError, match=r"train/cat/odd.png cannot be decoded: it is no image"):
        load_data("cinic10", tmp_path)
    pack_tar({name: content for name, content in files.items() if "/cat/" not in name}, archive)
    with pytest.raises(ValueError, match="has no training image of class 'cat'"):
        load_data("cinic10", tmp_path)
    with pytest.raises(ValueError, match=r"skip_unreadable is for pictures in files; CINIC-10.tar.gz"):
        load_data("cinic10", tmp_path, care=Care(skip=True))


def test_a_huge_picture_in_an_archive_is_not_decoded(tmp_path: Path) -> None:
    header = struct.pack(">II5B", 12000, 9000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", b"not even pixels"), (b"IEND", b"")]
    bomb = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
    pack_tar({**cinic_files(), "train/cat/bomb.png": bomb}, tmp_path / "CINIC-10.tar.gz")
    with pytest.raises(ValueError, match=r"bomb.png is 9000 x 12000 pixels, and all should be 32 x 32"):
        load_data("cinic10", tmp_path)


def test_hidden_files_in_an_archive_are_passed_over_as_in_a_folder(tmp_path: Path) -> None:
    """macOS packs ``._1.png``, which is no picture, beside ``1.png``."""
    files = cinic_files()
    lay_out(files, tmp_path / "unpacked/CINIC-10")
    (tmp_path / "packed").mkdir()
    hidden = {"train/cat/._1.png": b"Mac OS X", "._CINIC-10/test/cat/1.png": b"Mac OS X"}
    pack_tar({**hidden, **files}, tmp_path / "packed/CINIC-10.tar.gz")
    same(*(load_data("cinic10", tmp_path / each) for each in ("unpacked", "packed")))


@pytest.mark.parametrize("place", ["unpacked", "packed"])
def test_cinic10_is_never_made_larger(place: str, tmp_path: Path) -> None:
    (tmp_path / "packed").mkdir()
    pack_tar(cinic_files(), tmp_path / "packed/CINIC-10.tar.gz")
    lay_out(cinic_files(), tmp_path / "unpacked/CINIC-10")
    for size, shown in ((48, "48 x 48"), (224, "224 x 224"), ((16, 33), "16 x 33")):
        with pytest.raises(ValueError, match=f"cinic10 are 32 x 32 pixels and only .* image_size {shown}"):
            load_data("cinic10", tmp_path / place, size)


def test_grey_images_are_averaged_alike_from_an_archive_and_from_files(tmp_path: Path) -> None:
    """A picture that is predicted becomes grey, and is then averaged; so do images in memory."""
    (tmp_path / "packed").mkdir()
    pack_tar(cinic_files(), tmp_path / "packed/CINIC-10.tar.gz")
    lay_out(cinic_files(), tmp_path / "unpacked/CINIC-10")
    packed, read = (load_data("cinic10", tmp_path / each, 16, 1) for each in ("packed", "unpacked"))
    same(packed, read)
    assert packed.averaged_from == (32, 32)
    grey = Image.open(tmp_path / "unpacked/CINIC-10/train/airplane/cifar10-train-8.png").convert("L")
    expected = np.floor(np.asarray(grey).reshape(16, 2, 16, 2).mean((1, 3)) + 0.5)
    assert (pixels_of(packed.train)[0, ..., 0].numpy() == expected).all()


def test_cinic10_lacks_a_class(tmp_path: Path) -> None:
    lay_out(
        {name: each for name, each in cinic_files().items() if "/frog/" not in name}, tmp_path / "cinic10"
    )
    with pytest.raises(ValueError, match="has no folder of the class 'frog'"):
        load_data("cinic10", tmp_path)


# ---------------------------------------------------------------- Tiny-ImageNet

IDS = ("n01443537", "n01629819", "n02124075")


@pytest.fixture
def three_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny_imagenet, "CLASSES", 3)
    monkeypatch.setattr(imagenet, "CLASSES", 3)


def tiny_files() -> dict[str, bytes]:
    files = {}
    for label, each in enumerate(IDS):
        for row in range(2):
            files[f"train/{each}/images/{each}_{row}.JPEG"] = picture(64, 10 * label + row, "jpeg")
        files[f"train/{each}/{each}_boxes.txt"] = b"n_0.JPEG\t0\t10\t63\t58\n"
        files[f"val/images/val_{9 - label}.JPEG"] = picture(64, 100 + label, "jpeg")
    lines = [f"val_{9 - label}.JPEG\t{each}\t0\t32\t44\t62" for label, each in enumerate(IDS)]
    files["val/val_annotations.txt"] = "\n".join(reversed(lines)).encode()
    files["wnids.txt"] = "\n".join(reversed(IDS)).encode()
    words = [
        f"{IDS[0]}\tgoldfish, Carassius",
        f"{IDS[1]}\tcrane",
        f"{IDS[2]}\tcrane, bird",
        "n00000000\tother",
    ]
    files["words.txt"] = "\n".join(words).encode()
    files["test/images/test_0.JPEG"] = picture(64, 7, "jpeg")
    return files


@pytest.mark.usefixtures("three_classes")
def test_tiny_imagenet_is_the_same_from_its_folder_and_its_archive(tmp_path: Path) -> None:
    files = tiny_files()
    lay_out(files, tmp_path / "unpacked/tiny-imagenet-200")
    (tmp_path / "packed").mkdir()
    archive = tmp_path / "packed/tiny-imagenet-200.zip"
    pack_zip({f"tiny-imagenet-200/{name}": content for name, content in files.items()}, archive)
    for size in (None, 64):
        read, packed = (load_data("tiny_imagenet", tmp_path / each, size) for each in ("unpacked", "packed"))
        same(read, packed)
        assert read.notes == packed.notes
        assert read.classes == ("goldfish", f"crane ({IDS[1]})", f"crane ({IDS[2]})")
        assert read.test is not None
        assert read.val is None
        assert read.train.y.tolist() == [0, 0, 1, 1, 2, 2]
        assert read.test().y.tolist() == [0, 1, 2]
        assert read.shape == (3, size or 32, size or 32)
        assert not any("not read" in note for note in read.notes)
    first = np.asarray(Image.open(io.BytesIO(files[f"train/{IDS[0]}/images/{IDS[0]}_0.JPEG"])))
    assert np.array_equal(pixels_of(read.train)[0].numpy(), first)
    with pytest.raises(ValueError, match=r"at 224 x 224 pixels tiny_imagenet is read from its folder"):
        load_data("tiny_imagenet", tmp_path / "packed", 224)
    large = load_data("tiny_imagenet", tmp_path / "unpacked", 224)
    assert isinstance(large.train, Files)
    assert large.shape == (3, 224, 224)
    assert large.mean == (0.485, 0.456, 0.406)


@pytest.mark.usefixtures("three_classes")
def test_the_val_of_tiny_imagenet_may_have_been_sorted_into_classes(tmp_path: Path) -> None:
    files = tiny_files()
    lay_out(files, tmp_path / "as_published/tiny-imagenet-200")
    for label, each in enumerate(IDS):
        name = f"val_{9 - label}.JPEG"
        files[f"val/{each}/images/{name}"] = files.pop(f"val/images/{name}")
    lay_out(files, tmp_path / "sorted/tiny-imagenet-200")
    same(*(load_data("tiny_imagenet", tmp_path / each) for each in ("as_published", "sorted")))


@pytest.mark.usefixtures("three_classes")
@pytest.mark.parametrize("name", ["tiny_imagenet", "imagenet"])
def test_what_is_not_read_in_a_sorted_val_is_said_and_a_broken_link_refused(
    name: str, tmp_path: Path
) -> None:
    place = tmp_path / {"tiny_imagenet": "tiny-imagenet-200"}.get(name, name)
    files = tiny_files() if name == "tiny_imagenet" else imagenet_files()
    lay_out(files, place)
    for label, each in enumerate(IDS if name == "tiny_imagenet" else ()):
        write(place / f"val/{each}/images/val_{label}.JPEG", files[f"val/images/val_{9 - label}.JPEG"])
    write(place / "val/labels.csv", "")
    (note,) = (note for note in load_data(name, tmp_path, 32).notes if note.startswith("not read"))
    assert note.startswith("not read in val: ")
    assert "1 .csv (labels.csv)" in note
    folder = place / "val" / IDS[0] / ("images" if name == "tiny_imagenet" else "")
    (folder / "gone.JPEG").symlink_to("nowhere.JPEG")
    message = r"1 of 10 image files cannot be read: .*gone.JPEG: it is a link to nowhere.JPEG"
    with pytest.raises(ValueError, match=message):
        load_data(name, tmp_path, 32)
    assert any("gone.JPEG" in note for note in load_data(name, tmp_path, 32, care=Care(skip=True)).notes)


@pytest.mark.usefixtures("three_classes")
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("val_9.JPEG\tn00000001\t0", "val_annotations.txt, line 1: no class of train, got .*n00000001"),
        ("val_9.JPEG", "val_annotations.txt, line 1: no class of train, got 'val_9.JPEG'"),
        ("../../../secret.JPEG\tn01443537", r"a list names '../../../secret.JPEG', which is not in .*images"),
        ("/secret.JPEG\tn01443537", r"a list names '/secret.JPEG', which is not in .*images; mend the list"),
        ("val_0.JPEG\tn01443537", r"1 of 7 image files cannot be read: .*val_0.JPEG: .*no such file"),
    ],
)
def test_an_annotation_that_is_wrong_is_an_error(tmp_path: Path, line: str, message: str) -> None:
    lay_out({**tiny_files(), "val/val_annotations.txt": line.encode()}, tmp_path / "tiny-imagenet-200")
    with pytest.raises(ValueError, match=f"(?i){message}"):
        load_data("tiny_imagenet", tmp_path)


def test_a_part_of_tiny_imagenet_or_imagenet_is_refused_by_name(tmp_path: Path) -> None:
    lay_out(tiny_files(), tmp_path / "tiny-imagenet-200")
    with pytest.raises(ValueError, match=r"has 3 classes, and tiny_imagenet has 200; a part of it is"):
        load_data("tiny_imagenet", tmp_path)
    lay_out(imagenet_files(), tmp_path / "imagenet")
    with pytest.raises(ValueError, match=r"has 3 classes, and imagenet has 1,000; .* --data .*imagenet"):
        load_data("imagenet", tmp_path)


def test_a_link_may_not_leave_the_folder_of_a_list(tmp_path: Path) -> None:
    write(tmp_path / "outside.png", picture(8, 0))
    (tmp_path / "in").mkdir()
    (tmp_path / "in/link.png").symlink_to(tmp_path / "outside.png")
    (tmp_path / "in/deep").symlink_to(tmp_path)
    for name in ("link.png", "deep/outside.png", "a/../../outside.png", "..\\outside.png"):
        with pytest.raises(ValueError, match=r"a list names .*, which is not in"):
            inside(tmp_path / "in", [name])
    assert inside(tmp_path / "in", ["a/b.png"]) == [tmp_path / "in/a/b.png"]


# ---------------------------------------------------------------- ImageNet


def imagenet_files() -> dict[str, bytes]:
    files = {}
    for label, each in enumerate(IDS):
        for row in range(2):
            files[f"train/{each}/{each}_{row}.JPEG"] = picture(40, 10 * label + row, "jpeg")
        files[f"val/{each}/ILSVRC2012_val_{9 - label:08}.JPEG"] = picture(40, 100 + label, "jpeg")
    return files


@pytest.mark.usefixtures("three_classes")
def test_imagenet_is_read_at_224_and_its_val_is_the_test_split(tmp_path: Path) -> None:
    lay_out(imagenet_files(), tmp_path / "imagenet")
    dataset = load_data("imagenet", tmp_path)
    assert isinstance(dataset.train, Files)
    assert dataset.shape == (3, 224, 224)
    assert dataset.classes == IDS
    assert dataset.val is None
    assert dataset.test is not None
    assert dataset.test().y.tolist() == [0, 1, 2]
    assert (dataset.mean, dataset.crop, dataset.flip) == ((0.485, 0.456, 0.406), 0, True)
    write(tmp_path / "imagenet/LOC_synset_mapping.txt", f"{IDS[0]} tench, Tinca\n{IDS[2]} crane\n")
    assert load_data("imagenet", tmp_path).classes == ("tench", IDS[1], "crane")
    assert isinstance(load_data("imagenet", tmp_path, 32).train, Images)


@pytest.mark.usefixtures("three_classes")
def test_a_flat_val_needs_kaggles_list(tmp_path: Path) -> None:
    files = imagenet_files()
    flat = {
        f"val/{Path(name).name}" if name.startswith("val/") else name: each for name, each in files.items()
    }
    place = tmp_path / "ILSVRC/Data/CLS-LOC"
    lay_out(flat, place)
    with pytest.raises(ValueError, match=r"move each picture into val/<id of its class>/, or put Kagg"):
        load_data("imagenet", tmp_path)
    rows = [f"ILSVRC2012_val_{9 - label:08},{each} 1 2 3 4 " for label, each in enumerate(IDS)]
    solution = tmp_path / "LOC_val_solution.csv"
    write(solution, "ImageId,PredictionString\n" + "\n".join(rows))
    lay_out(files, tmp_path / "other/imagenet")
    kaggle, sorted_in = load_data("imagenet", tmp_path), load_data("imagenet", tmp_path / "other")
    assert kaggle.test is not None
    assert sorted_in.test is not None
    one, other = kaggle.test(), sorted_in.test()
    assert isinstance(one, Files)
    assert isinstance(other, Files)
    assert [path.name for path in one.paths] == [path.name for path in other.paths]
    assert torch.equal(one.y, other.y)
    write(solution, "ImageId,PredictionString\nILSVRC2012_val_00000009,n99999999 1 2")
    with pytest.raises(ValueError, match=r"LOC_val_solution.csv, line 2: no picture with a class of train"):
        load_data("imagenet", tmp_path)


# ---------------------------------------------------------------- names and paths


def test_a_users_own_class_folders_are_no_set_by_their_path(tmp_path: Path) -> None:
    lay_out(cinic_files(), tmp_path / "cinic10")
    lay_out(face_files(THREE), tmp_path)
    lay_out(imagenet_files(), tmp_path / "imagenet")
    assert (
        sets_in(tmp_path / "cinic10") == sets_in(tmp_path / "fer2013") == sets_in(tmp_path / "imagenet") == []
    )
    assert sets_in(tmp_path) == ["cinic10", "fer2013", "imagenet"]
    assert load_data(str(tmp_path / "cinic10"), Path()).name == "cinic10"
    assert load_data(str(tmp_path / "fer2013"), Path()).classes[-1] == "surprise"


def test_whereabouts_name_what_is_there_and_what_is_lacking(tmp_path: Path) -> None:
    lay_out(cinic_files(), tmp_path / "CINIC-10")
    where = source("cinic10").whereabouts(tmp_path)
    assert (where.place, where.lacking) == (tmp_path / "CINIC-10", ())
    (tmp_path / "fer2013/train").mkdir(parents=True)
    where = source("fer2013").whereabouts(tmp_path)
    assert (where.place, where.lacking) == (tmp_path / "fer2013", ("test",))
    write(tmp_path / "tiny-imagenet-200.zip", b"12345")
    where = source("tiny_imagenet").whereabouts(tmp_path)
    assert where.files == {"tiny-imagenet-200.zip": 5}
