"""A folder of 1,000 mixed pictures: ``cohobate predict`` gives what ``cohobate evaluate`` measures."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from awkward import KINDS
from measured import logits_of_evaluate
from PIL import Image

import cohobate
from cohobate.cli import main
from cohobate.commands.subject import On

CLASSES = ["ant", "bee", "cat", "dog"]
COUNT, BAD = 1000, 3
SIZES = [32, 80]
NETWORK = """
from torch import nn

def make(classes):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 16, 3, 2), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, classes),
    )
"""


def picture(label: int, seed: int) -> Image.Image:
    """Noise of any small size, the brighter the later its class."""
    rng = np.random.default_rng(seed)
    width, height = rng.integers(12, 48, 2)
    return Image.fromarray((rng.integers(0, 90, (height, width, 3)) + 55 * label).astype(np.uint8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``small`` to learn from, ``mixed/test`` with 1,000 files, and a run at each size."""
    root = tmp_path_factory.mktemp("mixed")
    for label, name in enumerate(CLASSES):
        for part, count in (("small/train", 8), ("mixed/train", 1)):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                picture(label, 10_000 + 100 * label + i).save(root / part / name / f"{i}.png")
    kinds = [(name, write) for name, write in KINDS.items() if not name.startswith("animated")]
    kinds += [(name, write) for name, write in KINDS.items() if name == "animated.gif"]
    for i in range(COUNT):
        label, (name, write) = i % len(CLASSES), kinds[i // len(CLASSES) % len(kinds)]
        file = root / "mixed/test" / CLASSES[label] / name
        file = file.with_name(f"{i:04d}-{file.name}")
        file.parent.mkdir(parents=True, exist_ok=True)
        write(file, picture(label, i))
    (root / "mixed/test/bee/notes.txt").write_text("no picture")
    spoil(root)
    (root / "net.py").write_text(NETWORK)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for size in SIZES:
            command = ["train", "baseline", "--data", "small", "--image-size", str(size), "--epochs", "1"]
            command += ["--model", "net.py:make", "--batch-size", "16", "--device", "cpu", "--quiet"]
            main([*command, "--lr", "0.05", "--workers", "0", "--out", f"run-{size}"])
    return root


def spoil(root: Path) -> None:
    """One is cut, one is no picture, one has damage in its middle; all in the first half."""
    cut, none, damaged = sorted((root / "mixed/test/ant").glob("*-plain.jpg"))[:BAD]
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    none.write_bytes(b"no picture at all")
    grey = sorted((root / "mixed/test/ant").glob("*-sixteen.png"))[0]
    content = bytearray(grey.read_bytes())
    at = len(content) // 2
    content[at : at + 40] = bytes(40)
    damaged.rename(damaged.with_suffix(".png")).write_bytes(content)


@pytest.fixture(autouse=True)
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


@pytest.fixture(scope="module", params=SIZES)
def both(request: pytest.FixtureRequest, folder: Path) -> tuple[str, Any, Any]:
    """The run, and the logits and measures of evaluate on the mixed folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run = f"run-{request.param}"
        return run, *logits_of_evaluate(Path(run), on=On("mixed", skip_unreadable=True))


def test_there_are_all_kinds() -> None:
    names = [path.name for path in Path("mixed/test").rglob("*") if path.is_file()]
    assert len(names) == COUNT + 1
    for kind in KINDS:
        if kind != "animated.webp":
            assert sum(name.endswith(Path(kind).name) for name in names) > 20, kind
    sizes = set()
    for path in sorted(Path("mixed/test").rglob("*plain.jpg"))[3:40]:
        with Image.open(path) as opened:
            sizes.add(opened.size)
    assert len(sizes) > 20


def test_logits_are_equal_bit_by_bit(both: tuple[str, Any, Any]) -> None:
    run, expected, measured = both
    assert measured["images"] == COUNT - BAD
    found = cohobate.predict(run, "mixed/test", workers=2)
    assert torch.equal(found.logits, expected)
    assert len(found.skipped) == BAD
    # The images are different enough that equal logits mean something.
    assert len(expected.unique(dim=0)) == COUNT - BAD
    # Rounding differs in batches of other sizes, so that it is the same batches which are equal.
    others = cohobate.predict(run, "mixed/test", batch_size=7, workers=2).logits
    torch.testing.assert_close(others, expected, rtol=1e-4, atol=1e-4)


def test_errors_recomputed_from_the_file_are_those_of_evaluate(
    both: tuple[str, Any, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _, measured = both
    out = tmp_path / "all.csv"
    main(["predict", run, "mixed/test", "--out", str(out), "--top-k", str(len(CLASSES))])
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == f"{out}  997 images"
    *skipped, last = printed.err.splitlines()
    assert last == "3 of 1,000 images cannot be read and are left out"
    assert skipped[0] == "note: not read in mixed/test: 1 .txt (bee/notes.txt)"
    assert len(skipped) == 1 + BAD
    assert all(line.startswith("skipped mixed/test/ant/") for line in skipped[1:])

    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == COUNT - BAD
    nll, wrong = 0.0, {name: [0, 0] for name in CLASSES}
    for row in rows:
        label = Path(row["path"]).parts[2]
        found = {row[f"label{end}"]: float(row[f"probability{end}"]) for end in ("", "_2", "_3", "_4")}
        assert sum(found.values()) == pytest.approx(1)
        nll -= math.log(found[label])
        wrong[label][0] += row["label"] != label
        wrong[label][1] += 1
    assert measured["nll"] == pytest.approx(nll / len(rows), rel=1e-7)
    errors = [100 * bad / count for bad, count in wrong.values()]
    assert measured["class_error"] == pytest.approx(errors)
    assert measured["top1_error"] == pytest.approx(100 * sum(bad for bad, _ in wrong.values()) / len(rows))
    assert 0 < measured["top1_error"] < 100


@pytest.mark.parametrize("workers", [0, 2])
def test_the_number_of_workers_changes_nothing(both: tuple[str, Any, Any], workers: int) -> None:
    run, expected, _ = both
    found = cohobate.predict(run, ["mixed/test/ant", "mixed/test/bee"], workers=workers)
    places = [Path(str(name)).parts[2] for name in found.names]
    assert places == sorted(places)
    torch.testing.assert_close(found.logits, expected[: len(found.names)], rtol=1e-4, atol=1e-4)
