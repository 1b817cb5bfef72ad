"""The headline measure is data: it chooses the best epoch, and the display says its title and unit."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from zoo import seeded, toy, toy_data

from cohobate.commands.feeds import make_feeds
from cohobate.config.groups import Settings
from cohobate.core import TOP1_ERROR, Metric, Phase
from cohobate.engine.checkpoint import Store, read_state
from cohobate.engine.evaluate import Measured, Measures
from cohobate.engine.loop import Trainer
from cohobate.engine.measures.classification import CLASSIFICATION
from cohobate.engine.progress import Display
from cohobate.engine.signals import Stopper
from cohobate.methods.supervised import Supervised


class Scripted:
    """An evaluation that returns these values, one after the other."""

    def __init__(self, *values: float) -> None:
        self.values = list(values)

    def __call__(self, *args: Any, **options: Any) -> Measured:
        return {"network": {"score": self.values.pop(0), "by_class": [0.0, 0.0]}}


def trained(measures: Measures, folder: Path, display: Display | None = None) -> Trainer:
    device = torch.device("cpu")
    running = Trainer(
        Phase("train", seeded(lambda: Supervised(toy()))),
        make_feeds(toy_data(), device, 0)._replace(measures=measures),
        Settings(epochs=3, batch_size=16, device="cpu", compile="off"),
        device,
        Store(folder / "train"),
        folder / "metrics.jsonl",
        [],
        display or Display(quiet=True),
        Stopper(),
    )
    running.run()
    return running


def test_lower_or_higher_is_better() -> None:
    accuracy = Metric("accuracy", "accuracy", "%", lower_is_better=False)
    assert TOP1_ERROR.better(1.0, 2.0)
    assert not TOP1_ERROR.better(2.0, 2.0)
    assert accuracy.better(2.0, 1.0)
    assert not any(metric.better(float("nan"), 1.0) for metric in (TOP1_ERROR, accuracy))


@pytest.mark.parametrize(("lower", "best"), [(True, 2), (False, 3)])
def test_the_headline_chooses_the_best_epoch(lower: bool, best: int, tmp_path: Path) -> None:
    measures = Measures(Scripted(5.0, 4.0, 6.0), Metric("score", "score", "", lower), ("by_class",))
    running = trained(measures, tmp_path)
    assert running.standing.best == {"epoch": best, "val": {"network": {"score": [4.0, 6.0][best - 2]}}}
    assert read_state(tmp_path / "train" / "best.safetensors").facts["epoch"] == best


def test_of_two_equal_epochs_the_first_is_the_best(tmp_path: Path) -> None:
    running = trained(Measures(Scripted(4.0, 4.0, 4.0), Metric("score", "score", "")), tmp_path)
    assert running.standing.best is not None
    assert running.standing.best["epoch"] == 1


def test_a_line_an_epoch_says_title_unit_and_time_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measures = Measures(Scripted(5.0, 4.0, 6.0), Metric("score", "mean IoU", "%", lower_is_better=False))
    trained(measures, tmp_path, Display("toy"))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    for line, epoch, value in zip(lines, (1, 2, 3), ("5.00", "4.00", "6.00"), strict=True):
        assert line.startswith(f"toy epoch {epoch}/3  ce ")
        assert f"  val mean IoU {value} %  " in line
        assert " images/s  0:00:0" in line
        assert line.endswith(" left")


RECORD = {"epoch": 1, "losses": {"ce": 1.5}, "images_per_s": 1234.5, "val": {"network": {"top1_error": 9.5}}}


def test_time_left_is_that_of_the_phase_so_far(capsys: pytest.CaptureFixture[str]) -> None:
    """10 updates were done before; 10 more took 600 seconds, so the last 20 take 1200."""
    clock = [100.0]
    display = Display()
    display.console = Console(stderr=True, get_time=lambda: clock[0])
    display.begin("train", steps=40, done=10)
    clock[0] += 600
    display.epoch(20, RECORD, 4, CLASSIFICATION)
    display.end()
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "epoch 1/4  ce 1.500  val top-1 error 9.50 %  1,234 images/s  0:20:00 left"


def test_a_terminal_has_a_bar_with_the_same() -> None:
    clock, screen = [0.0], io.StringIO()
    display = Display("toy")
    display.console = Console(file=screen, force_terminal=True, width=150, get_time=lambda: clock[0])
    display.live = True
    display.begin("train", steps=40, done=0)
    clock[0] = 30
    assert display.due()
    display.step(10, "1/4", {"ce": 1.5}, 1234.5)
    assert not display.due()
    display.end()
    for word in ("toy train", "10/40", "epoch 1/4", "ce 1.500", "1,234 images/s", "0:01:30", "left"):
        assert word in screen.getvalue()


def test_quiet_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(CLASSIFICATION, tmp_path, Display("toy", quiet=True))
    assert capsys.readouterr() == ("", "")
