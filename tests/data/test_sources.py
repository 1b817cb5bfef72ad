"""Digits, the forms of CIFAR, image folders and arrays."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cohobate.data import sets
from cohobate.data.arrays import arrays
from cohobate.data.dataset import Dataset, Files, Images
from cohobate.data.pickles import unpickle
from cohobate.data.pictures import Reading, as_read
from cohobate.data.sets import SETS, Entry, source
from cohobate.data.sets import cifar100 as cifar100_file
from cohobate.data.sources import load_data
from cohobate.data.views import whole
from cohobate.data.wanted import Wanted

# ---------------------------------------------------------------- names

STRIPES = """
from pathlib import Path

import numpy as np

from cohobate.data.arrays import arrays
from cohobate.data.dataset import Dataset
from cohobate.data.sets import Whereabouts


def load(root: Path, wanted: object) -> Dataset:
    labels = [int(word) for word in (root / "stripes.txt").read_text().split()]
    return arrays(np.zeros((len(labels), 2, 3), np.uint8), labels, name="stripes")


def is_in(folder: Path) -> bool:
    return (folder / "stripes.txt").is_file()


def whereabouts(root: Path) -> Whereabouts:
    return Whereabouts("stripes.txt", root / "stripes.txt", {}, ())
"""


def test_digits_are_split_in_fifths_and_grey() -> None:
    dataset = load_data("digits", Path("nowhere"))
    test = dataset.test()
    assert (len(dataset.train), len(test), dataset.shape) == (1438, 359, (3, 8, 8))
    assert dataset.train.x.shape[1:] == test.x.shape[1:] == (8, 8, 3)
    assert (dataset.crop, dataset.flip, dataset.val) == (1, False, None)
    assert torch.equal(dataset.train.x[..., 0], dataset.train.x[..., 2])
    assert int(dataset.train.x.max()) == 255
    whole = torch.bincount(torch.cat([dataset.train.y, test.y]))
    assert torch.bincount(test.y).tolist() == [round(0.2 * n) for n in whole.tolist()]


def test_digits_have_the_same_test_split_every_time() -> None:
    first, second = (load_data("digits", Path()).test() for _ in range(2))
    assert torch.equal(first.x, second.x)


def test_an_unknown_name_is_answered_with_the_names(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"'cifar'; the names are {', '.join(SETS)}, .* path \(\./cifar\)"):
        load_data("cifar", tmp_path)


@pytest.mark.parametrize("name", SETS)
def test_the_file_of_every_set_offers_what_the_list_needs(name: str, tmp_path: Path) -> None:
    assert SETS[name].classes > 1
    assert all(isinstance(fact, bool) or fact for fact in SETS[name])
    assert callable(source(name).load)
    assert source(name).is_in(tmp_path) is False
    assert source(name).whereabouts(tmp_path).looked_for


def test_the_list_is_read_without_torch() -> None:
    code = "import sys; from cohobate.data.sets import SETS; assert SETS and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_new_set_is_a_file_and_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file lies elsewhere here; a line in the list makes its name and its path known."""
    (tmp_path / "stripes.py").write_text(STRIPES)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "stripes.txt").write_text("1 0 1 0")
    monkeypatch.setattr(sets, "__path__", [*sets.__path__, str(tmp_path)])
    monkeypatch.setitem(
        SETS, "stripes", Entry("two stripes", 2, "4", "stripes.txt", "here", "none", pictures=False)
    )
    for spec, root in (("stripes", tmp_path / "data"), (str(tmp_path / "data"), tmp_path)):
        dataset = load_data(spec, root)
        assert (dataset.name, dataset.shape) == ("stripes", (3, 2, 3))
        assert dataset.train.y.tolist() == [1, 0, 1, 0]
    with pytest.raises(ValueError, match=r"stripes are 2 x 3 pixels and only made smaller, got .* 8 x 8"):
        load_data("stripes", tmp_path / "data", image_size=8)


# ---------------------------------------------------------------- CIFAR, on small files of the same form

BATCHES = [f"data_batch_{k}" for k in range(1, 6)]


def pixels(seed: int, n: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 3072), np.uint8)


def record(seed: int, key: str = "labels", classes: int = 3) -> dict[str, object]:
    labels = np.random.default_rng(seed + 100).integers(0, classes, 4).tolist()
    return {"data": pixels(seed), key: labels}


def with_bytes_keys(entries: dict[str, object]) -> dict[bytes, object]:
    names = {k: [v.encode() for v in entry] if "names" in k else entry for k, entry in entries.items()}
    return {key.encode(): entry for key, entry in names.items()}


def write(folder: Path, files: dict[str, dict[str, object]], protocol: int = 2) -> Path:
    folder.mkdir(parents=True)
    for name, entries in files.items():
        (folder / name).write_bytes(pickle.dumps(with_bytes_keys(entries), protocol))
    return folder


def cifar10_files() -> dict[str, dict[str, object]]:
    parts = {name: record(k) for k, name in enumerate([*BATCHES, "test_batch"])}
    return parts | {"batches.meta": {"label_names": ["air", "boat", "cat"]}}


def cifar100_files() -> dict[str, dict[str, object]]:
    parts = {name: record(k, "fine_labels") for k, name in enumerate(["train", "test"])}
    return parts | {"meta": {"fine_label_names": ["apple", "bee", "cup"]}}


def write_binary(
    folder: Path, files: dict[str, dict[str, object]], meta: str, names: str, coarse: int
) -> Path:
    folder.mkdir(parents=True)
    for name, entries in files.items():
        if "data" not in entries:
            (folder / meta).write_text("\n".join(entries[names]) + "\n\n")
            continue
        labels = next(np.array(v, np.uint8)[:, None] for k, v in entries.items() if "labels" in k)
        ahead = np.full((4, coarse), 9, np.uint8)
        (folder / f"{name}.bin").write_bytes(np.hstack([ahead, labels, entries["data"]]).tobytes())
    return folder


def pack(folder: Path, archive: str) -> None:
    with tarfile.open(folder.parent / archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


def same(a: Dataset, b: Dataset) -> bool:
    pairs = [(a.train, b.train), (a.test(), b.test())]
    equal = all(torch.equal(p.x, q.x) and torch.equal(p.y, q.y) for p, q in pairs)
    return equal and (a.name, a.classes, a.mean, a.std) == (b.name, b.classes, b.mean, b.std)


@pytest.fixture
def cifar10(tmp_path: Path) -> Path:
    return write(tmp_path / "reference" / "cifar-10-batches-py", cifar10_files()).parent


@pytest.fixture
def cifar100(tmp_path: Path) -> Path:
    return write(tmp_path / "reference" / "cifar-100-python", cifar100_files()).parent


def test_cifar_pixels_labels_and_names_are_where_they_belong(cifar10: Path) -> None:
    dataset = load_data("cifar10", cifar10)
    assert (len(dataset.train), len(dataset.test()), dataset.classes) == (20, 4, ("air", "boat", "cat"))
    assert (dataset.crop, dataset.flip, dataset.shape) == (4, True, (3, 32, 32))
    source = record(1)
    for row in range(4):
        red = np.asarray(source["data"])[row, :1024].reshape(32, 32)
        assert np.array_equal(dataset.train.x[4 + row, :, :, 0].numpy(), red)
    assert dataset.train.y[4:8].tolist() == source["labels"]


def test_grey_cifar_is_averaged_as_a_picture_that_is_predicted(cifar10: Path) -> None:
    """Both are made grey first: averages of RGB differ from those of grey by a rounding in places."""
    images, dataset = load_data("cifar10", cifar10), load_data("cifar10", cifar10, 16, 1)
    reading = Reading(channels=1, averaged_from=dataset.averaged_from)
    for row in range(len(images.train)):
        picture = as_read(Image.fromarray(images.train.x[row].numpy()), reading)
        expected = np.asarray(whole(picture, (16, 16), reading))
        assert np.array_equal(dataset.train.x[row, ..., 0].numpy(), expected)


def test_cifar100_reads_the_fine_labels(cifar100: Path) -> None:
    dataset = load_data("cifar100", cifar100)
    assert dataset.train.y.tolist() == record(0, "fine_labels")["fine_labels"]
    assert dataset.classes == ("apple", "bee", "cup")


def test_every_form_of_cifar10_reads_the_same(cifar10: Path, tmp_path: Path) -> None:
    reference = load_data("cifar10", cifar10)
    write_binary(
        tmp_path / "b" / "cifar-10-batches-bin", cifar10_files(), "batches.meta.txt", "label_names", 0
    )
    assert same(reference, load_data("cifar10", tmp_path / "b"))
    pack(tmp_path / "b" / "cifar-10-batches-bin", "cifar-10-binary.tar.gz")
    assert same(reference, load_data("cifar10", tmp_path / "b"))
    pack(write(tmp_path / "c" / "cifar-10-batches-py", cifar10_files()), "cifar-10-python.tar.gz")
    assert same(reference, load_data("cifar10", tmp_path / "c"))
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["cifar-10-python.tar.gz"]


def test_every_form_of_cifar100_reads_the_same(cifar100: Path, tmp_path: Path) -> None:
    reference = load_data("cifar100", cifar100)
    meta = ("fine_label_names.txt", "fine_label_names", 1)
    write_binary(tmp_path / "b" / "cifar-100-binary", cifar100_files(), *meta)
    assert same(reference, load_data("cifar100", tmp_path / "b"))
    pack(tmp_path / "b" / "cifar-100-binary", "cifar-100-binary.tar.gz")
    assert same(reference, load_data("cifar100", tmp_path / "b"))
    pack(write(tmp_path / "c" / "cifar-100-python", cifar100_files()), "cifar-100-python.tar.gz")
    assert same(reference, load_data("cifar100", tmp_path / "c"))


def test_a_path_to_cifar_or_into_it_is_read_as_cifar(cifar10: Path) -> None:
    reference = load_data("cifar10", cifar10)
    assert same(reference, load_data(str(cifar10), Path("nowhere")))
    assert same(reference, load_data(str(cifar10 / "cifar-10-batches-py"), Path("nowhere")))
    assert same(reference, load_data("cifar10", cifar10 / "cifar-10-batches-py"))


def test_a_path_to_both_cifars_is_ambiguous(cifar10: Path, cifar100: Path) -> None:
    with pytest.raises(ValueError, match="holds cifar10 and cifar100; ask for one by name"):
        load_data(str(cifar10), Path())


def test_other_checksums_and_missing_batches_are_noted(cifar10: Path) -> None:
    (cifar10 / "cifar-10-batches-py" / "data_batch_3").unlink()
    (cifar10 / "cifar-10-batches-py" / "test_batch").unlink()
    dataset = load_data("cifar10", cifar10)
    assert (len(dataset.train), dataset.test) == (16, None)
    assert dataset.notes[:2] == (
        "not there: data_batch_3; the training split has 16 images",
        "not there: test_batch; there is no test split",
    )
    others = "data_batch_1, data_batch_2, data_batch_4, data_batch_5, batches.meta"
    assert dataset.notes[2:] == (f"md5 differs from the published one: {others}",)


def test_whereabouts_are_told_by_names_and_sizes_alone(cifar10: Path, tmp_path: Path) -> None:
    folder = cifar10 / "cifar-10-batches-py"
    found = source("cifar10").whereabouts(cifar10)
    assert (found.place, found.lacking) == (folder, ())
    assert found.files == {path.name: path.stat().st_size for path in folder.iterdir()}
    assert len(found.files) == 7
    for name in found.files:
        (folder / name).write_bytes(b"rubbish")
    (folder / "data_batch_3").unlink()
    found = source("cifar10").whereabouts(folder)
    assert (found.place, found.lacking) == (folder, ("data_batch_3",))
    assert sum(found.files.values()) == 6 * len("rubbish"), "nothing is read"
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(b"rubbish")
    found = source("cifar10").whereabouts(tmp_path)
    assert found[1:] == (tmp_path / "cifar-10-binary.tar.gz", {"cifar-10-binary.tar.gz": 7}, ())
    assert source("cifar100").whereabouts(tmp_path)[1:] == (None, {}, ())
    assert "cifar-100-python.tar.gz" in source("cifar100").whereabouts(tmp_path).looked_for


def test_the_digits_come_with_their_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = source("digits").whereabouts(tmp_path).place
    assert place is not None
    assert place.stat().st_size > 10_000
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert source("digits").whereabouts(tmp_path).place is None


def test_nothing_found_says_where_it_looked_and_for_what(tmp_path: Path) -> None:
    forms = "cifar-100-python/, cifar-100-python.tar.gz, cifar-100-binary/, cifar-100-binary.tar.gz"
    with pytest.raises(FileNotFoundError, match=f"no cifar100 in {tmp_path}: looked there for {forms}"):
        load_data("cifar100", tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"get it from https://www\.cs\.toronto\.edu/~kriz/cifar\.html"
    ):
        load_data("cifar10", tmp_path)


def test_no_training_file_or_no_names_is_an_error(cifar10: Path, cifar100: Path) -> None:
    for name in BATCHES:
        (cifar10 / "cifar-10-batches-py" / name).unlink()
    with pytest.raises(FileNotFoundError, match="none of the training files data_batch_1, data_batch_2"):
        load_data("cifar10", cifar10)
    (cifar100 / "cifar-100-python" / "meta").unlink()
    with pytest.raises(FileNotFoundError, match="does not hold meta, the names of the classes"):
        cifar100_file.load(cifar100, Wanted())


def test_the_test_split_is_read_only_when_asked_for(cifar10: Path) -> None:
    file = cifar10 / "cifar-10-batches-py" / "test_batch"
    file.write_bytes(b"no pickle")
    dataset = load_data("cifar10", cifar10)
    with pytest.raises(ValueError, match="test_batch is no pickle"):
        dataset.test()
    file.unlink()
    with pytest.raises(FileNotFoundError, match="cifar-10-batches-py no longer holds test_batch"):
        dataset.test()


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"labels": [0] * 4}, "no entry 'data'"),
        ({"data": pixels(0)}, "no entry 'labels'"),
        ({"data": pixels(0).astype(float), "labels": [0] * 4}, "must be uint8 .* got float64"),
        ({"data": pixels(0)[:, :-1], "labels": [0] * 4}, r"got uint8 \(4, 3071\)"),
        ({"data": [1], "labels": [0] * 4}, "got list"),
        ({"data": pixels(0), "labels": [0] * 3}, "4 images but labels of shape"),
        ({"data": pixels(0), "labels": [0, 1, 2, 3]}, "needs labels 0 to 2"),
        ({"data": pixels(0), "labels": "abcd"}, "must be a list of integers"),
    ],
)
def test_misshapen_records_are_refused(cifar10: Path, entries: dict[str, object], message: str) -> None:
    (cifar10 / "cifar-10-batches-py" / "data_batch_2").write_bytes(pickle.dumps(entries, 2))
    with pytest.raises(ValueError, match=f"data_batch_2: .*{message}"):
        load_data("cifar10", cifar10)


def test_truncated_files_are_named(cifar10: Path, tmp_path: Path) -> None:
    file = cifar10 / "cifar-10-batches-py" / "data_batch_2"
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(ValueError, match="data_batch_2 is no pickle, or is truncated"):
        load_data("cifar10", cifar10)
    binary = write_binary(
        tmp_path / "cifar-10-batches-bin", cifar10_files(), "batches.meta.txt", "label_names", 0
    )
    (binary / "data_batch_4.bin").write_bytes(b"\0" * 3074)
    with pytest.raises(ValueError, match=r"data_batch_4.bin: 3074 bytes .* records of 3073"):
        load_data("cifar10", tmp_path)


def test_a_truncated_archive_is_named(cifar10: Path) -> None:
    pack(cifar10 / "cifar-10-batches-py", "cifar-10-python.tar.gz")
    archive = cifar10 / "cifar-10-python.tar.gz"
    archive.write_bytes(archive.read_bytes()[:20000])
    with pytest.raises(ValueError, match=r"cifar-10-python.tar.gz is damaged or truncated"):
        load_data("cifar10", cifar10)


# ---------------------------------------------------------------- pickles


class Malicious:
    """A pickle of this runs a command when it is read plainly."""

    def __init__(self, call: object, *arguments: object) -> None:
        self.reduced = (call, arguments)

    def __reduce__(self) -> tuple[object, ...]:
        return self.reduced


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_malicious_pickle_is_refused_and_not_run(cifar10: Path, protocol: int) -> None:
    victim = cifar10 / "ran"
    content = pickle.dumps({b"data": Malicious(os.system, f"touch {victim}")}, protocol)
    (cifar10 / "cifar-10-batches-py" / "data_batch_1").write_bytes(content)
    with pytest.raises(ValueError, match=rf"data_batch_1 was refused: it names {os.name}.system"):
        load_data("cifar10", cifar10)
    assert not victim.exists()


@pytest.mark.parametrize("call", [eval, getattr, __import__, np.load, np.frombuffer, torch.load])
def test_other_globals_are_refused(call: object) -> None:
    with pytest.raises(ValueError, match="some file was refused: it names"):
        unpickle(pickle.dumps(Malicious(call, "1"), 2), "some file")


def test_other_codecs_are_refused() -> None:
    content = b"c_codecs\nencode\n(Vabc\nVrot13\ntR."
    with pytest.raises(ValueError, match="asks for the codec 'rot13', only latin1"):
        unpickle(content, "file")


def python2_pickle(data: np.ndarray, labels: list[int]) -> bytes:
    """What Python 2 and its numpy wrote, opcode by opcode: byte strings everywhere."""

    def string(value: bytes) -> bytes:
        return b"T" + len(value).to_bytes(4, "little") + value

    def integer(value: int) -> bytes:
        return b"J" + value.to_bytes(4, "little", signed=True)

    empty = b"cnumpy.core.multiarray\n_reconstruct\n" + b"cnumpy\nndarray\n" + integer(0) + b"\x85"
    dtype = b"cnumpy\ndtype\n" + string(b"u1") + integer(0) + integer(1) + b"\x87R"
    dtype += b"(" + integer(3) + string(b"|") + b"NNN" + integer(-1) * 2 + integer(0) + b"tb"
    shape = integer(len(data)) + integer(data.shape[1]) + b"\x86"
    state = b"(" + integer(1) + shape + dtype + b"\x89" + string(data.tobytes()) + b"t"
    array = empty + string(b"b") + b"\x87R" + state + b"b"
    items = string(b"data") + array + string(b"labels") + b"](" + b"".join(map(integer, labels)) + b"e"
    return b"\x80\x02}(" + items + b"u."


def test_pickles_of_python_2_are_read(cifar10: Path) -> None:
    reference = load_data("cifar10", cifar10)
    for k, name in enumerate([*BATCHES, "test_batch"]):
        entries = record(k)
        content = python2_pickle(np.asarray(entries["data"]), list(entries["labels"]))
        (cifar10 / "cifar-10-batches-py" / name).write_bytes(content)
    assert same(reference, load_data("cifar10", cifar10))


def test_pickles_with_text_keys_are_read(cifar10: Path) -> None:
    reference = load_data("cifar10", cifar10)
    for name, entries in cifar10_files().items():
        (cifar10 / "cifar-10-batches-py" / name).write_bytes(pickle.dumps(entries, 4))
    assert same(reference, load_data("cifar10", cifar10))


@pytest.mark.parametrize("core", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_both_names_of_numpys_core_are_read(core: bytes) -> None:
    content = pickle.dumps(pixels(0), 2)
    names = (b"numpy._core.multiarray", b"numpy.core.multiarray")
    for name in names:
        content = content.replace(b"c" + name, b"c" + core)
    assert np.array_equal(unpickle(content, "file"), pixels(0))


# ---------------------------------------------------------------- folders


def paint(file: Path, size: tuple[int, int] = (12, 12), colour: tuple[int, int, int] = (200, 10, 60)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(file)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "pets"
    for k, name in enumerate(["train/dog/1.png", "train/cat/2.PNG", "train/cat/1.bmp", "val/dog/1.webp"]):
        paint(root / name, colour=(10 * k, 20, 30))
    paint(root / "test/cat/9.ppm", colour=(99, 98, 97))
    return root


def test_a_folder_of_small_images_is_held_in_memory(folder: Path) -> None:
    (folder / "train/cat/.hidden.png").write_bytes(b"no image")
    (folder / "train/cat/notes.txt").write_text("no image")
    dataset = load_data(str(folder), Path())
    assert (dataset.name, dataset.classes, dataset.shape) == ("pets", ("cat", "dog"), (3, 12, 12))
    assert isinstance(dataset.train, Images)
    assert dataset.train.y.tolist() == [0, 0, 1]
    assert dataset.train.x[:, 0, 0, 0].tolist() == [20, 10, 0]
    assert (dataset.crop, dataset.flip, dataset.std[1]) == (1, True, 1.0)
    assert dataset.mean == pytest.approx((10 / 255, 20 / 255, 30 / 255))
    assert dataset.val.y.tolist() == [1]
    test = dataset.test()
    assert test.y.tolist() == [0]
    assert test.x[0, 5, 5].tolist() == [99, 98, 97]


def test_a_folder_is_resized_on_request(folder: Path) -> None:
    assert load_data(str(folder), Path(), image_size=16).train.x.shape == (3, 16, 16, 3)
    large = load_data(str(folder), Path(), image_size=65)
    assert isinstance(large.train, Files)
    assert (large.shape, large.mean, large.crop) == ((3, 65, 65), (0.485, 0.456, 0.406), 0)
    assert large.train.paths[2] == folder / "train/dog/1.png"
    with pytest.raises(ValueError, match="image_size must be at least 1, got 0"):
        load_data(str(folder), Path(), image_size=0)


@pytest.mark.parametrize("size", [(12, 13), (10, 10), (65, 65)])
def test_images_of_other_sizes_are_left_on_disk(folder: Path, size: tuple[int, int]) -> None:
    paint(folder / "train/dog/2.png", size)
    assert load_data(str(folder), Path()).shape == (3, 224, 224)


def test_folders_without_images_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"no folder {tmp_path / 'none'}"):
        load_data(str(tmp_path / "none"), Path())
    with pytest.raises(ValueError, match="has no folder train"):
        load_data(str(folder / "train"), Path())
    (folder / "train" / "emu").mkdir()
    with pytest.raises(ValueError, match=r"train/emu is empty: .*; remove it, or put images there"):
        load_data(str(folder), Path())


def test_no_class_folders_is_an_error(tmp_path: Path) -> None:
    paint(tmp_path / "train/1.png")
    with pytest.raises(ValueError, match="train has no class folders"):
        load_data(str(tmp_path), Path())


@pytest.mark.parametrize("part", ["val", "test"])
def test_a_class_that_train_lacks_is_named(folder: Path, part: str) -> None:
    paint(folder / part / "emu/1.png")
    with pytest.raises(ValueError, match=f"{part} has a class 'emu' that .*train does not have"):
        load_data(str(folder), Path())


@pytest.mark.parametrize("link", ["train/cat/3.png", "train/emu", "val"])
def test_links_that_leave_the_folder_are_refused(folder: Path, tmp_path: Path, link: str) -> None:
    paint(tmp_path / "outside/dog/1.png")
    if link == "val":
        (folder / "val/dog/1.webp").unlink()
        (folder / "val/dog").rmdir()
        (folder / "val").rmdir()
    target = tmp_path / ("outside/dog/1.png" if link.endswith("png") else "outside")
    (folder / link).symlink_to(target)
    with pytest.raises(ValueError, match=f"{link} is a link that leaves .*pets: it leads to .*outside"):
        load_data(str(folder), Path())


def test_links_within_the_folder_are_followed(folder: Path) -> None:
    (folder / "train/cat/3.png").symlink_to(folder / "train/dog/1.png")
    assert load_data(str(folder), Path()).train.x[:, 0, 0, 0].tolist() == [20, 10, 0, 0]


def test_a_file_that_cannot_be_decoded_is_named(folder: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(pixels(0).reshape(64, 64, 3)).save(stream, "png")
    (folder / "train/dog/3.png").write_bytes(stream.getvalue()[:2000])
    with pytest.raises(ValueError, match=r"1 of 6 image files .*train/dog/3.png: image file is truncated"):
        load_data(str(folder), Path(), image_size=12)


# ---------------------------------------------------------------- arrays


@pytest.mark.parametrize("shape", [(6, 5, 4), (6, 5, 4, 1), (6, 1, 5, 4)])
@pytest.mark.parametrize("torch_", [False, True])
def test_grey_arrays_become_three_equal_channels(shape: tuple[int, ...], torch_: bool) -> None:
    x = np.arange(120, dtype=np.uint8).reshape(shape)
    y = np.array([0, 1, 2, 0, 1, 2], np.int32)
    dataset = arrays(torch.from_numpy(x), torch.from_numpy(y)) if torch_ else arrays(x, y)
    assert dataset.train.x.shape == (6, 5, 4, 3)
    for channel in dataset.train.x.unbind(-1):
        assert np.array_equal(channel.numpy(), x.reshape(6, 5, 4))
    assert (dataset.classes, dataset.crop, dataset.flip, dataset.name) == (
        ("0", "1", "2"),
        0,
        False,
        "arrays",
    )
    assert dataset.train.y.dtype == torch.int64


def test_colour_arrays_may_have_the_channels_anywhere() -> None:
    x = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3), np.uint8)
    last, first = (arrays(v, [0, 1, 0, 1]) for v in (x, np.moveaxis(x, -1, 1)))
    assert torch.equal(last.train.x, torch.from_numpy(x))
    assert torch.equal(first.train.x, last.train.x)


def test_arrays_take_splits_and_names_and_copy() -> None:
    x = np.zeros((4, 6, 6), np.uint8)
    pair = (x[:2], [1, 2])
    dataset = arrays(x, [0, 1, 2, 0], val=pair, test=pair, classes="abcd", crop=2, flip=True, name="mine")
    x[:] = 7
    assert int(dataset.train.x.max()) == 0
    assert (dataset.val.y.tolist(), dataset.test().y.tolist()) == ([1, 2], [1, 2])
    assert (dataset.classes, dataset.crop, dataset.flip, dataset.name) == (tuple("abcd"), 2, True, "mine")


X = np.zeros((2, 6, 6, 3), np.uint8)


@pytest.mark.parametrize(
    ("x", "y", "options", "message"),
    [
        (X.astype(np.float32), [0, 1], {}, "x of train must be uint8, 0 to 255, got torch.float32"),
        (X[0, 0], [0, 1], {}, r"got \(6, 3\)"),
        (np.zeros((2, 6, 6, 4), np.uint8), [0, 1], {}, r"got \(2, 6, 4, 6\)|got \(2, 6, 6, 4\)"),
        (X, [0, 1, 1], {}, "train has 2 images and 3 labels"),
        (X[:0], np.zeros(0, int), {}, "train has 0 images and 0 labels"),
        (X, [0.0, 1.0], {}, "y of train must be integer ids"),
        (X, [[0], [1]], {}, r"got torch.int64 of \(2, 1\)"),
        (X, X[..., 0], {}, r"y of train has the shape \(2, 6, 6\).*masks.* are read from folders"),
        (X, [0, 1], {"val": (X, X[..., :1])}, r"y of val has the shape \(2, 6, 6, 1\).*masks.* from folders"),
        (X, ["a", "b"], {}, "y of train must be numbers, got <U1"),
        (X, [0, -1], {}, "labels of train run from -1 to 0"),
        (X, [0, 3], {"classes": "abc"}, "labels of train run from 0 to 3, 3 classes need 0 to 2"),
        (X, [0, 1], {"val": (X, [0, 2])}, "labels of val run from 0 to 2, 2 classes need 0 to 1"),
        (X, [0, 1], {"test": (X[:, 1:], [0, 1])}, r"images of test are \(5, 6\), those of train \(6, 6\)"),
        (X, [0, 1], {"crop": -1}, "crop must be 0 or more, got -1"),
    ],
)
def test_arrays_refuse(x: np.ndarray, y: object, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        arrays(x, y, **options)


# ---------------------------------------------------------------- the real thing


def test_cifar10_has_the_published_mean_and_std() -> None:
    root = Path(os.environ.get("COHOBATE_DATA", ""))
    if not os.environ.get("COHOBATE_DATA") or not (root / "cifar-10-batches-py").is_dir():
        pytest.skip("COHOBATE_DATA names no folder that holds cifar-10-batches-py")
    dataset = load_data("cifar10", root)
    assert (len(dataset.train), len(dataset.test())) == (50000, 10000)
    assert dataset.mean == pytest.approx((0.49139968, 0.48215841, 0.44653091), abs=1e-6)
    assert dataset.std == pytest.approx((0.24703223, 0.24348513, 0.26158784), abs=1e-6)
