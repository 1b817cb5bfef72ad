"""A run of segmentation from its command to its page: mIoU is what it is about, and pictures show it."""

from __future__ import annotations

import io
import json
import random
import re
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from painted import COLOURS, write
from PIL import Image
from torch import nn

import cohobate
from cohobate.cli import main
from cohobate.commands import running
from cohobate.commands.feeds import split_loader
from cohobate.commands.pictured import LONGEST, jpeg, pictured, png
from cohobate.commands.result import Result, read_result
from cohobate.config.colours import IGNORED_COLOUR, class_colours
from cohobate.core import IGNORED, MIOU, TOP1_ERROR, VOID
from cohobate.data import scenes
from cohobate.data.dataset import Dataset
from cohobate.data.sources import load_data
from cohobate.engine import distributed
from cohobate.engine.checkpoint import read_state
from cohobate.inference.painted import mask_png
from cohobate.methods.supervised import Supervised
from cohobate.report.figures import scenes as figure
from cohobate.runs.layout import RunFolder
from cohobate.runs.pictured import read_pictured
from cohobate.runs.reading import read_run

CPU = torch.device("cpu")
SIZE = (32, 32)
QUICK = {"epochs": 2, "batch_size": 4, "device": "cpu", "quiet": True, "lr": 0.02, "workers": 0}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """8 pictures to learn from and 6 to validate on, of 48 x 60 pixels, which are padded to 32 x 32."""
    root = tmp_path_factory.mktemp("data")
    for seed, (part, number) in enumerate({"train": 8, "val": 6}.items()):
        write(root / part / "images", root / part / "masks", number, seed=seed)
        for file in (root / part / "masks").iterdir():
            mask = np.array(Image.open(file))
            mask[:6, :9] = 255
            Image.fromarray(mask).save(file)
    return load_data(str(root), Path(), SIZE)


@pytest.fixture(scope="module")
def run(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return cohobate.fit(Supervised(network()), data, tmp_path_factory.mktemp("runs") / "run", **QUICK)


# ---------------------------------------------------------------- the number


def test_a_result_says_miou_and_has_no_error(run: Result) -> None:
    assert run.metric == MIOU
    last = run.facts["last"]["val"]["network"]
    assert list(last) == ["miou", "miou_original", "pixel_accuracy", "images", "class_iou"]
    assert run.value == last["miou"]
    assert read_result(RunFolder(run.folder)).metric == MIOU
    with pytest.raises(AttributeError, match="measured by its mIoU has no top-1 error; `value` is its mIoU"):
        print(run.error)
    assert not hasattr(run, "error")


def test_a_result_of_a_classifier_has_both(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (40, 4, 4), np.uint8)
    method = Supervised(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)))
    found = cohobate.fit(method, cohobate.arrays(images, np.arange(40) % 2), tmp_path / "run", **QUICK)
    assert found.metric == TOP1_ERROR
    assert found.error == found.value == found.facts["last"]["val"]["network"]["top1_error"]
    assert not RunFolder(found.folder).pictures.exists()
    old = Result(found.folder, {k: v for k, v in found.facts.items() if k != "headline"}, [], None)
    assert old.error == found.error


def test_the_best_epoch_is_that_of_the_highest_miou(run: Result) -> None:
    each = [record["val"]["network"]["miou"] for record in run.history]
    assert len(set(each)) == 2
    assert run.facts["best"]["val"]["network"]["miou"] == pytest.approx(max(each))
    assert len(run.history[0]["val"]["network"]["class_iou"]) == 4


def test_patience_counts_epochs_without_a_higher_miou(data: Dataset, tmp_path: Path) -> None:
    """With a learning rate of 0 no epoch is better than the first."""
    still = QUICK | {"epochs": 6, "patience": 2, "lr": 1e-12, "schedule": "constant"}
    found = cohobate.fit(Supervised(network()), data, tmp_path / "run", **still)
    assert found.facts["phases"][0]["epochs"] == 3
    rising = cohobate.fit(Supervised(network()), data, tmp_path / "other", **QUICK | {"patience": 1})
    assert rising.facts["phases"][0]["epochs"] == 2


# ---------------------------------------------------------------- pictures


def opened(data: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(data)))


def test_pictures_are_images_masks_and_what_the_deployed_network_names(run: Result, data: Dataset) -> None:
    found = read_pictured(run.folder)
    assert found is not None
    assert (found.split, found.images, found.classes) == ("val", 6, data.classes)
    assert [picture.row for picture in found.pictures] == [0, 2, 3, 5]
    deployed = network()
    deployed.load_state_dict(read_state(RunFolder(run.folder).deployed).tensors)
    (batch,) = split_loader(data.val, data, CPU, 0).epoch(0)
    for picture in found.pictures:
        assert batch.truths is not None
        left, top, right, bottom = batch.truths[picture.row].box
        assert (right - left, bottom - top) == (32, 26)
        y = batch.y[picture.row, top:bottom, left:right]
        assert (opened(picture.mask) == y.where(y != IGNORED, 255).numpy()).all()
        named = deployed(batch.x)[picture.row].argmax(0)[top:bottom, left:right]
        assert (opened(picture.named) == named.numpy()).all()
        source = Image.open(data.val.paths[picture.row]).resize((32, 26), Image.Resampling.BILINEAR)
        assert np.abs(opened(picture.image).astype(int) - np.array(source)).mean() < 16


def test_masks_have_the_colours_of_their_classes(run: Result) -> None:
    found = read_pictured(run.folder)
    assert found is not None
    mask = Image.open(io.BytesIO(found.pictures[0].mask))
    shown, ids = np.array(mask.convert("RGB")), np.array(mask)
    for number, colour in [*enumerate(class_colours(4)), (255, IGNORED_COLOUR)]:
        assert (ids == number).any()
        assert (shown[ids == number] == colour).all()


def test_of_255_classes_none_has_the_colour_of_another() -> None:
    ids = torch.arange(256).view(16, 16)
    shown = np.array(Image.open(io.BytesIO(png(ids, class_colours(255)))).convert("RGB")).reshape(256, 3)
    assert [tuple(map(int, colour)) for colour in shown] == [*class_colours(255), IGNORED_COLOUR]


def test_the_masks_of_pages_are_written_as_those_of_predict() -> None:
    ids = torch.randint(4, (9, 7))
    ids[0, :3] = VOID
    assert png(ids, class_colours(4)) == mask_png(ids.numpy().astype(np.uint8), class_colours(4))


def test_the_number_that_is_not_counted_is_one_everywhere() -> None:
    assert VOID == scenes.VOID == figure.VOID == 255


def test_large_pictures_are_made_smaller_and_masks_keep_their_classes() -> None:
    ids = torch.zeros(600, 1200, dtype=torch.int64)
    ids[:, 600:] = 7
    mask = opened(png(ids, class_colours(8)))
    image = opened(jpeg(torch.full((3, 600, 1200), 90, dtype=torch.uint8)))
    assert mask.shape == image.shape[:2] == (LONGEST // 2, LONGEST)
    assert (mask[:, : LONGEST // 2] == 0).all()
    assert (mask[:, LONGEST // 2 :] == 7).all()
    assert opened(jpeg(torch.full((1, 8, 9), 90, dtype=torch.uint8))).shape == (8, 9)
    assert opened(jpeg(torch.full((4, 8, 9), 90, dtype=torch.uint8))).shape == (8, 9, 3)


def test_a_run_that_was_killed_before_its_end_has_the_same_pictures(
    data: Dataset, run: Result, tmp_path: Path
) -> None:
    again = cohobate.fit(Supervised(network()), data, tmp_path / "run", **QUICK)
    files, first = RunFolder(again.folder), RunFolder(run.folder)
    for killed in (False, True):
        if killed:
            files.result.unlink()
            files.pictures.unlink()
            cohobate.fit(Supervised(network()), data, again.folder, **QUICK)
        assert files.pictures.read_bytes() == first.pictures.read_bytes()
        assert read_result(files).facts["last"] == run.facts["last"]


class Noisy(nn.Module):
    """Draws at random in evaluation too."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0 * torch.rand_like(x)


def test_no_random_state_moves_and_modes_stay(data: Dataset) -> None:
    method = Supervised(nn.Sequential(nn.Dropout(), Noisy(), network())).train()
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    assert pictured(method, data, CPU, "fp32") is not None
    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert all(module.training for module in method.modules())


def test_only_the_first_process_writes_them(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = cohobate.fit(Supervised(network()), data, tmp_path / "run", **QUICK)
    files = RunFolder(whole.folder)
    files.result.unlink()
    files.pictures.unlink()
    second = SimpleNamespace(**vars(distributed) | {"rank": lambda: 1})
    monkeypatch.setattr(running, "distributed", second)
    cohobate.fit(Supervised(network()), data, whole.folder, **QUICK)
    assert not files.pictures.exists()


def test_without_a_validation_split_they_are_of_the_test_split(data: Dataset) -> None:
    tested = replace(data, val=None, test=lambda: data.val)
    found = pictured(Supervised(network()), tested, CPU, "bf16")
    assert found is not None
    assert (found.split, len(found.pictures)) == ("test", 4)
    few = replace(tested, test=lambda: data.val.subset(torch.tensor([1])))  # type: ignore[union-attr]
    found = pictured(Supervised(network()), few, CPU, "fp32")
    assert found is not None
    assert [picture.row for picture in found.pictures] == [0]
    assert pictured(Supervised(network()), replace(tested, test=None), CPU, "fp32") is None


# ---------------------------------------------------------------- from the command line


@pytest.fixture(scope="module")
def commanded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Runs by command: two methods beside one another, and what was printed."""
    root = tmp_path_factory.mktemp("commanded")
    for seed, (part, number) in enumerate({"train": 8, "val": 4, "test": 4}.items()):
        write(root / "data" / part / "images", root / "data" / part / "masks", number, seed=seed)
    (root / "net.py").write_text(
        "from torch import nn\n\n\ndef make(classes):\n"
        "    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, classes, 1))\n"
    )
    return root, "32,32"


COMPARE = (
    "compare baseline kd --seeds 0 --epochs 2 --batch-size 4 --lr 0.02 --device cpu --workers 0 --log-test"
)


@pytest.fixture(scope="module")
def compared(commanded: tuple[Path, str]) -> tuple[Path, str, str]:
    """The folder of a comparison, and what it printed: table, lines."""
    root, size = commanded
    out, told = io.StringIO(), io.StringIO()
    net = f"{root}/net.py:make"
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(told):
        patch.setenv("COLUMNS", "150")
        patch.chdir(root)
        here = ["--data", str(root / "data"), "--image-size", size, "--model", net, "--teacher", net]
        main([*COMPARE.split(), *here, "--out", "compared"])
    return root / "compared", " ".join(out.getvalue().split()), told.getvalue()


def wrong_words(text: str) -> list[str]:
    """Of errors, of which segmentation has none; the standard error of a mean is none."""
    return re.findall(r"(?i)top-?1|top-?5|(?<!standard )\berror\b", text)


def test_a_comparison_speaks_of_miou(compared: tuple[Path, str, str]) -> None:
    folder, table, told = compared
    assert "mIoU on the test split, percent" in table
    assert "test mIoU" in table
    assert wrong_words(table + told) == []
    assert re.search(r"epoch 1/2 .* val mIoU \d+\.\d\d %  test mIoU", told)
    assert re.search(r"teacher .*: test mIoU \d+\.\d\d %, 2 epochs, kept in", told)
    assert re.search(r"Teacher .* \(shared, not in any train time\): test mIoU \d+\.\d\d %", table)
    for file in ("table.md", "table.csv", "table.json"):
        assert wrong_words((folder / file).read_text()) == []
    teachers = json.loads((folder / "table.json").read_text())["teachers"]
    assert [set(teacher) & {"miou", "error", "measured"} for teacher in teachers] == [{"miou"}]
    assert "last_miou_mean" in (folder / "table.csv").read_text()


def test_the_page_of_a_comparison_has_pictures_of_every_method(compared: tuple[Path, str, str]) -> None:
    page = (compared[0] / "index.html").read_text()
    assert page.count("<image ") == 4 * (2 + 2)
    for text in ("4 of 4 images of the val split (rows 0, 1, 2, 3)", "Predictions of the methods", ">kd<"):
        assert text in page
    assert "mIoU there, %" in page
    assert "MIoU" not in page


def test_the_page_of_a_run(compared: tuple[Path, str, str], capsys: pytest.CaptureFixture[str]) -> None:
    folder = compared[0] / "baseline" / "seed-0"
    main(["report", str(folder)])
    page = Path(capsys.readouterr().out.strip()).read_text()
    assert page.count("<image ") == 16
    for text in ("highest mIoU", "mIoU original size, %", "pixel accuracy, %", "errors", "wrong"):
        assert text in page
    assert "top-1" not in page


def test_evaluate_prints_each_class(
    compared: tuple[Path, str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    folder = compared[0] / "baseline" / "seed-0"
    main(["evaluate", str(folder)])
    text = capsys.readouterr().out
    last = read_run(folder).outcome["last"]["test"]["network"]
    for name, key in {
        "mIoU % (size of the network)": "miou",
        "mIoU % (sizes of the pictures)": "miou_original",
        "pixel accuracy %": "pixel_accuracy",
    }.items():
        assert re.search(rf"{re.escape(name)} +│ +{last[key]:.3f}", text), name
    each = [float(value) for value in re.findall(r"IoU % of \d+ +│ +([\d.]+)", text)]
    assert len(each) == len(COLOURS)
    assert np.mean(each) == pytest.approx(last["miou"], abs=0.01)
    assert wrong_words(text) == []


def test_runs_of_both_tasks_are_not_compared(compared: tuple[Path, str, str], tmp_path: Path) -> None:
    main(
        ["train", "baseline", "--epochs", "1", "--device", "cpu", "--quiet", "--out", str(tmp_path / "other")]
    )
    with pytest.raises(SystemExit) as refused:
        main(["report", str(compared[0] / "baseline"), str(tmp_path / "other")])
    assert refused.value.code
