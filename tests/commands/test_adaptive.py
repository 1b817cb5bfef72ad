"""``cohobate evaluate RUN --adaptive``: what it measures, how it chooses, what it stores and refuses."""

from __future__ import annotations

import json
import math
import re
import shutil
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from command_line import fails, refused

import cohobate
from cohobate.cli import main
from cohobate.commands import adaptive as adaptive_module
from cohobate.commands import timing
from cohobate.commands.adaptive import evaluate_adaptive
from cohobate.commands.choice import Wish
from cohobate.commands.subject import On
from cohobate.data.dataset import Dataset, Images
from cohobate.data.loaders import eval_loader
from cohobate.data.sources import load_data
from cohobate.engine.checkpoint import read_state
from cohobate.recipes.energy import energy_images
from cohobate.runs.adaptive import Adaptive, read_adaptive
from cohobate.runs.deployed import read_deployed

TRAIN = ["--data", "mine.npz", "--model", "resnet8", "--batch-size", "60", "--lr", "0.05", "--device", "cpu"]
OWN = ["--teacher", "resnet8", "--epochs", "2", "--teacher-epochs", "6", "--res-students", "resnet8,resnet8"]
OWN += ["--stop-share", "none", "--tau", "0.5", "--energy-share", "0.4"]
CPU = torch.device("cpu")
SPLITS = {"train": 500, "val": 120, "test": 150}


def write_digits(file: Path, **changed: Any) -> None:
    """Real digits in three splits, in a file of arrays."""
    digits = load_data("digits", Path())
    x, y = (part.numpy() for part in (digits.train.x, digits.train.y))  # type: ignore[union-attr]
    starts = dict(zip(SPLITS, accumulate([0, *SPLITS.values()]), strict=False))
    held: dict[str, Any] = {}
    for split, start in starts.items():
        name = "" if split == "train" else f"_{split}"
        held |= {f"x{name}": x[start : start + SPLITS[split]], f"y{name}": y[start : start + SPLITS[split]]}
    np.savez(file, **{**held, **changed})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data and ``run``, of three networks and a teacher trained by name."""
    folder = tmp_path_factory.mktemp("adaptive")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_digits(Path("mine.npz"))
        main(["train", "reskd", *TRAIN, *OWN, "--quiet", "--out", "run"])
    return folder


@pytest.fixture(autouse=True)
def here(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of it, in which a round of timing is enough."""
    shutil.copytree(trained, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(timing, "ROUNDS", (1, 1))
    monkeypatch.setenv("COLUMNS", "150")


@pytest.fixture
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page takes longer to draw than all else."""
    monkeypatch.setattr(adaptive_module, "run_files", lambda run: {})


def data() -> Dataset:
    return load_data("mine.npz", Path())


def images_of(split: Any, dataset: Dataset) -> tuple[torch.Tensor, torch.Tensor]:
    (batch,) = eval_loader(split, dataset, batch_size=len(split), device=CPU).epoch(0)
    return batch.x, batch.y


def dv() -> tuple[torch.Tensor, torch.Tensor]:
    dataset = data()
    return images_of(energy_images(dataset, "train", 0.4, 0), dataset)


@torch.no_grad()
def one_by_one(x: torch.Tensor, y: torch.Tensor, threshold: float) -> dict[str, float]:
    """Algorithm 2 as section III-C has it, image by image: accuracy in percent, mean cost, exits."""
    networks = cohobate.load("run").network.networks
    costs = [cohobate.cost(network, (3, 8, 8)).macs for network in networks]
    right, spent, left = 0, 0, [0] * len(networks)
    for image, label in zip(x, y.tolist(), strict=True):
        logits, stage = networks[0](image[None]).logits, 0
        while stage + 1 < len(networks):
            probabilities = logits.double().softmax(1)
            if float((probabilities**2).sum()) > threshold:
                break
            stage += 1
            logits = logits + networks[stage](image[None]).logits
        right += int(logits.argmax()) == label
        spent += sum(costs[: stage + 1])
        left[stage] += 1
    shares = {f"exit_{i}": n / len(y) for i, n in enumerate(left)}
    return {"accuracy": 100 * right / len(y), "macs": spent / len(y), **shares}


def measured(adaptive: Adaptive, name: str = "adaptive") -> dict[str, float]:
    row = adaptive.row(name)
    assert row is not None
    return {"accuracy": row.accuracy, "macs": row.macs} | {f"exit_{i}": s for i, s in enumerate(row.exits)}


# ---------------------------------------------------------------- what is measured


@pytest.mark.usefixtures("no_page")
def test_the_rows_are_those_of_each_network_by_itself() -> None:
    tried = evaluate_adaptive(Path("run"), wish=Wish(threshold=0.3))
    alone = {row.accuracy for row in tried.rows if row.name.startswith("S_")}
    others = (p for p in tried.curve_measured if p.accuracy not in alone and min(p.exits) > 0)
    threshold = min(others, key=lambda point: abs(point.threshold - 0.5)).threshold
    adaptive = evaluate_adaptive(Path("run"), wish=Wish(threshold=threshold))
    x, y = images_of(data().test(), data())  # type: ignore[misc]
    assert [row.name for row in adaptive.rows] == ["S_0", "S_1", "S_2", "adaptive", "teacher"]
    assert measured(adaptive) == pytest.approx(one_by_one(x, y, threshold))
    networks = cohobate.load("run").network.networks
    with torch.no_grad():
        sums = list(accumulate(network(x).logits for network in networks))
    macs = [cohobate.cost(network, (3, 8, 8)).macs for network in networks]
    for i, logits in enumerate(sums):
        expected = {
            "accuracy": 100 * float((logits.argmax(1) == y).double().mean()),
            "macs": sum(macs[: i + 1]),
        }
        assert measured(adaptive, f"S_{i}") == pytest.approx(expected)
    (folder,) = Path("runs/teachers").iterdir()
    right = (cohobate.load(folder)(x).argmax(1) == y).double().mean()
    assert measured(adaptive, "teacher")["accuracy"] == pytest.approx(100 * float(right))
    for row in adaptive.rows:
        assert row.error == pytest.approx(100 - row.accuracy)
        assert row.percent_of_sum == pytest.approx(100 * row.macs / sum(macs))
        assert row.percent_of_teacher == pytest.approx(100 * row.macs / macs[0])
        assert row.milliseconds > 0
    assert [(m.name, m.model, m.macs) for m in adaptive.networks] == [
        (name, "resnet8", macs[0]) for name in ("S_0", "R_1", "R_2", "teacher")
    ]
    assert (adaptive.data, adaptive.split, adaptive.images, adaptive.weights) == ("mine", "test", 150, "last")
    assert (adaptive.timing.threads, adaptive.timing.images, adaptive.timing.batch_size) == (1, 150, 128)


@pytest.mark.usefixtures("no_page")
def test_both_curves_are_those_of_every_threshold() -> None:
    adaptive = evaluate_adaptive(Path("run"), wish=Wish(threshold=0.8))
    x, y = images_of(data().test(), data())  # type: ignore[misc]
    for curve, images in ((adaptive.curve_measured, (x, y)), (adaptive.curve_chosen, dv())):
        assert [point.threshold for point in curve] == sorted(point.threshold for point in curve)
        assert (curve[0].threshold, curve[-1].threshold) == (0, math.inf)
        for point in (curve[0], curve[len(curve) // 2], curve[-1]):
            found = {"accuracy": point.accuracy, "macs": point.macs}
            found |= {f"exit_{i}": share for i, share in enumerate(point.exits)}
            assert found == pytest.approx(one_by_one(*images, point.threshold))
    assert adaptive.on_chosen is not None
    assert adaptive.on_chosen.accuracy == pytest.approx(one_by_one(*dv(), 0.8)["accuracy"])
    assert adaptive.chosen_on is not None
    assert adaptive.chosen_on.model_dump() == {"split": "train", "images": 200, "trained_on": True}


def test_everything_is_written_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    main(["evaluate", "run", "--adaptive", "--threshold", "0.8", "--split", "val"])
    printed = capsys.readouterr().out
    adaptive = read_adaptive(Path("run"))
    assert adaptive is not None
    row = adaptive.row("adaptive")
    assert row is not None
    exits = " / ".join(f"{100 * share:.1f}" for share in row.exits)
    assert re.search(rf"adaptive .*{row.accuracy:.2f} .*{row.percent_of_sum:.1f} .*{exits}", printed)
    assert "leave after S_0 / S_1 / S_2 %" in printed
    assert "the teacher is resnet8" in " ".join(printed.split())
    assert "S_2, full sum" in printed
    assert "200 training images, which the networks were trained on, so that the accuracy there is" in printed
    assert "cpu, 1 thread, fp32, in batches of 120; median of 1 round over 120 images" in printed
    assert "val split, last weights, 120 images" in printed
    page = Path("run/report.html").read_text()
    assert "Sample-adaptive inference" in page
    assert exits in page
    assert page.count("<svg") == 4
    recorded = json.loads(Path("run/adaptive.json").read_text())
    assert recorded["curve_measured"][-1]["threshold"] == "never"
    assert recorded["rule"] == "given by --threshold"
    assert not list(Path("run").glob("*.tmp"))


# ---------------------------------------------------------------- how the threshold is chosen


@pytest.mark.usefixtures("no_page")
def test_without_a_rule_the_stored_threshold_counts() -> None:
    before = Path("run/deployed.safetensors").read_bytes()
    said: list[str] = []
    adaptive = evaluate_adaptive(Path("run"), say=said.append)
    found = read_deployed("run").found
    assert adaptive.threshold == found["threshold"]
    assert "eq. 10" in adaptive.rule
    assert said == []
    assert Path("run/deployed.safetensors").read_bytes() == before
    x, _ = dv()
    with torch.no_grad():
        energy = cohobate.load("run")(x).double().softmax(1).square().sum(1).mean()
    assert adaptive.threshold == pytest.approx(float(energy), rel=1e-6)
    again = evaluate_adaptive(Path("run"), wish=Wish(by_energy=True))
    assert again.threshold == pytest.approx(float(energy), rel=1e-6)


@pytest.mark.usefixtures("no_page")
def test_the_rules_keep_their_word_on_dv() -> None:
    full = evaluate_adaptive(Path("run"), wish=Wish(threshold=1))
    sums = [point.macs for point in full.curve_chosen]
    top = full.curve_chosen[-1].accuracy
    wishes = {
        "accuracy": Wish(accuracy=top - 4.0),
        "drop": Wish(accuracy_drop=2.0),
        "exact": Wish(accuracy_drop=0.0),
        "macs": Wish(max_macs=sums[0] * 1.5),
    }
    found = {name: evaluate_adaptive(Path("run"), wish=wish) for name, wish in wishes.items()}
    least = {"accuracy": top - 4.0, "drop": top - 2.0, "exact": top}
    x, y = dv()
    for name, accuracy in least.items():
        there = one_by_one(x, y, found[name].threshold)
        assert there["accuracy"] >= accuracy - 1e-6
        cheaper = [point for point in full.curve_chosen if point.macs < there["macs"] - 1]
        assert all(point.accuracy < accuracy for point in cheaper)
    there = one_by_one(x, y, found["macs"].threshold)
    assert there["macs"] <= sums[0] * 1.5
    within = [point.accuracy for point in full.curve_chosen if point.macs <= sums[0] * 1.5]
    assert there["accuracy"] == pytest.approx(max(within))
    assert found["drop"].rule == "the smallest cost within 2 points of the full sum's accuracy on D_v"


@pytest.mark.usefixtures("no_page")
def test_the_images_measured_do_not_move_the_threshold() -> None:
    """The same run on the same training images, with other test images and other labels of them."""
    test = data().test()  # type: ignore[misc]
    assert isinstance(test, Images)
    rng = np.random.default_rng(0)
    shuffled = {"x_test": rng.integers(0, 256, test.x.shape, np.uint8), "y_test": rng.integers(0, 10, 150)}
    write_digits(Path("other.npz"), **shuffled)
    for wish in (Wish(accuracy_drop=1.0), Wish(max_macs=1e6), Wish(by_energy=True)):
        right = evaluate_adaptive(Path("run"), wish=wish)
        wrong = evaluate_adaptive(Path("run"), on=On("other.npz"), wish=wish)
        assert wrong.threshold == right.threshold
        assert wrong.curve_chosen == right.curve_chosen
        assert wrong.rows[0].accuracy < 40 < right.rows[0].accuracy


@pytest.mark.usefixtures("no_page")
@pytest.mark.parametrize("by", ["name", "folder"])
def test_classes_in_another_order_are_matched_by_name(by: str) -> None:
    """Of the cascade, of every sum and of the teacher, however the run was told of it."""
    if by == "folder":
        (folder,) = Path("runs/teachers").iterdir()
        config = yaml.safe_load(Path("run/run.yaml").read_text())
        Path("run/run.yaml").write_text(yaml.safe_dump(config | {"teacher": [str(folder)]}))
    held = dict(np.load("mine.npz"))
    turned = {key: 9 - value if key.startswith("y") else value for key, value in held.items()}
    np.savez("turned.npz", **turned, classes=np.array([str(k) for k in range(9, -1, -1)]))
    right = evaluate_adaptive(Path("run"), wish=Wish(threshold=0.3))
    other = evaluate_adaptive(Path("run"), on=On("turned.npz"), wish=Wish(threshold=0.3))
    for name in ("S_0", "S_1", "S_2", "adaptive", "teacher"):
        assert measured(other, name) == measured(right, name)
    for one, two in ((other.curve_measured, right.curve_measured), (other.curve_chosen, right.curve_chosen)):
        assert [point.accuracy for point in one] == [point.accuracy for point in two]
        assert [point.exits for point in one] == [point.exits for point in two]


@pytest.mark.usefixtures("no_page")
def test_dv_is_the_validation_split_where_the_run_took_that() -> None:
    config = yaml.safe_load(Path("run/run.yaml").read_text())
    Path("run/run.yaml").write_text(yaml.safe_dump(config | {"energy_split": "val"}))
    adaptive = evaluate_adaptive(Path("run"), wish=Wish(by_energy=True))
    assert adaptive.chosen_on is not None
    assert adaptive.chosen_on.model_dump() == {"split": "val", "images": 120, "trained_on": False}
    x, _ = images_of(data().val, data())
    with torch.no_grad():
        energy = cohobate.load("run")(x).double().softmax(1).square().sum(1).mean()
    assert adaptive.threshold == pytest.approx(float(energy), rel=1e-6)
    assert not adaptive.same_images
    assert evaluate_adaptive(Path("run"), "val").same_images


# ---------------------------------------------------------------- what is stored


@pytest.mark.usefixtures("no_page")
def test_a_chosen_threshold_is_stored_and_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    before = read_state(Path("run/deployed.safetensors"))
    first = before.facts["found"]["threshold"]
    main(["evaluate", "run", "--adaptive", "--threshold", "0.8", "--energy", "added"])
    said = " ".join(capsys.readouterr().out.split())
    assert "stored in run/deployed.safetensors: threshold 0.8 (given by --threshold, energy added)" in said
    assert f"before: {first} (the mean energy of the full sum over D_v when the run ended, eq. 10" in said
    after = read_state(Path("run/deployed.safetensors"))
    assert after.tensors.keys() == before.tensors.keys()
    assert all(torch.equal(after.tensors[key], before.tensors[key]) for key in before.tensors)
    own = {"threshold": 0.8, "threshold_rule": "given by --threshold", "threshold_energy": "added"}
    assert after.facts == before.facts | {"found": before.facts["found"] | own}
    cascade = cohobate.load("run", adaptive=True)
    assert (cascade.threshold, cascade.energy) == (0.8, "added")
    main(["evaluate", "run", "--adaptive"])
    again = read_adaptive(Path("run"))
    assert again is not None
    assert (again.threshold, again.energy, again.rule) == (0.8, "added", "given by --threshold")
    said = fails(capsys, "evaluate", "run", "--adaptive", "--energy", "sum")
    assert "the stored threshold, 0.8 (given by --threshold, energy added), is not for --energy sum" in said


@pytest.mark.usefixtures("no_page")
def test_the_reading_alone_is_stored_with_the_threshold_of_the_plan() -> None:
    first = read_deployed("run").found["threshold"]
    adaptive = evaluate_adaptive(Path("run"), energy="added")
    assert (adaptive.threshold, adaptive.energy) == (first, "added")
    cascade = cohobate.load("run", adaptive=True)
    assert (cascade.threshold, cascade.energy) == (first, "added")
    again = evaluate_adaptive(Path("run"))
    assert (again.threshold, again.energy, again.rule) == (first, "added", adaptive.rule)


@pytest.mark.usefixtures("no_page")
def test_the_best_weights_have_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    last = Path("run/deployed.safetensors").read_bytes()
    best = Path("run/deployed-best.safetensors")
    with pytest.raises(ValueError, match="stores no threshold"):
        cohobate.load(best, adaptive=True)
    main(["evaluate", "run", "--adaptive", "--weights", "best"])
    assert "before: none" in " ".join(capsys.readouterr().out.split())
    assert cohobate.load(best, adaptive=True).threshold == read_deployed(best).found["threshold"]
    assert Path("run/deployed.safetensors").read_bytes() == last


def test_a_failure_stores_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("power cut")

    before = Path("run/deployed.safetensors").read_bytes()
    monkeypatch.setattr(adaptive_module, "times", broken)
    with pytest.raises(RuntimeError, match="power cut"):
        evaluate_adaptive(Path("run"), wish=Wish(threshold=0.3))
    assert Path("run/deployed.safetensors").read_bytes() == before
    assert not Path("run/adaptive.json").exists()


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--threshold 0.5", "--threshold has no effect without --adaptive: give it, or leave it out"),
        ("--threshold 0", "--threshold has no effect without --adaptive"),
        ("--accuracy-drop 0", "--accuracy-drop has no effect without --adaptive"),
        ("--energy sum", "--energy has no effect without --adaptive"),
        ("--by-energy", "--by-energy has no effect without --adaptive"),
        ("--adaptive --threshold 1.5", "threshold: Input should be less than or equal to 1 (got 1.5)"),
        ("--adaptive --threshold -0.1", "threshold: Input should be greater than or equal to 0"),
        ("--adaptive --threshold nan", "threshold: Input should be"),
        ("--adaptive --accuracy 101", "accuracy: Input should be less than or equal to 100"),
        ("--adaptive --max-macs 0", "max_macs: Input should be greater than 0"),
        ("--adaptive --threshold 0 --accuracy 90", "got --threshold and --accuracy"),
        ("--adaptive --by-energy --max-macs 1e6", "give at most one of --threshold, --accuracy, "),
        ("--adaptive --max-macs 1000", "--max-macs on D_v: no threshold keeps the mean cost within 1000"),
        ("--adaptive --max-macs 1000", "the nearest is 781952, the first network alone"),
        ("--adaptive --accuracy 100", "--accuracy on D_v: no threshold gives an accuracy of 100.0 percent"),
        ("--adaptive --data nowhere.npz", "nowhere.npz"),
    ],
)
def test_wrong_options(options: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path("run/deployed.safetensors").read_bytes()
    assert message in " ".join(refused(capsys, "evaluate", "run", *options.split()).split())
    assert Path("run/deployed.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (Wish(threshold=1.5), r"--threshold is a number from 0 to 1, got 1.5"),
        (Wish(threshold=math.nan), r"--threshold is a number from 0 to 1, got nan"),
        (Wish(accuracy=-1), r"--accuracy is a number from 0 to 100, got -1"),
        (Wish(accuracy=0.93), r"--accuracy is in percent: write 93, not 0\.93"),
        (Wish(accuracy_drop=101), r"--accuracy-drop is a number from 0 to 100, got 101"),
        (Wish(max_macs=0), r"--max-macs is a number above 0, got 0"),
        (Wish(threshold=0, accuracy=0), r"got --threshold and --accuracy"),
    ],
)
def test_wrong_wishes_from_python(wish: Wish, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate_adaptive(Path("run"), wish=wish)


def test_a_run_of_one_network(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "baseline", *TRAIN, "--epochs", "1", "--quiet", "--out", "plain"])
    capsys.readouterr()
    said = refused(capsys, "evaluate", "plain", "--adaptive")
    assert "plain/deployed.safetensors is one network, resnet8, and no sum of several" in said
    assert "leave out --adaptive" in said


def test_an_empty_dv(capsys: pytest.CaptureFixture[str]) -> None:
    config = yaml.safe_load(Path("run/run.yaml").read_text())
    Path("run/run.yaml").write_text(yaml.safe_dump(config | {"energy_share": 1e-6}))
    assert "D_v is empty: --energy-share 1e-06 of 500 training images is none" in refused(
        capsys, "evaluate", "run", "--adaptive", "--accuracy", "50"
    )


@pytest.mark.usefixtures("no_page")
def test_other_images_when_those_of_the_run_are_gone(capsys: pytest.CaptureFixture[str]) -> None:
    """A threshold that is given or stored needs no D_v; the rules do."""
    held = dict(np.load("mine.npz"))
    np.savez("other.npz", x=held["x"][:40], y=held["y"][:40], x_test=held["x_test"], y_test=held["y_test"])
    right = evaluate_adaptive(Path("run"))
    main(["evaluate", "run", "--adaptive", "--data", "other.npz"])
    there = read_adaptive(Path("run"))
    assert there is not None
    assert (there.threshold, there.chosen_on) == (right.threshold, right.chosen_on)
    assert measured(there) == measured(right)
    Path("mine.npz").unlink()
    Path("run/adaptive.json").unlink()
    for rule in ("--accuracy 50", "--accuracy-drop 1", "--max-macs 1e6", "--by-energy"):
        said = refused(capsys, "evaluate", "run", "--adaptive", "--data", "other.npz", *rule.split())
        assert f"{rule.split()[0]} chooses the threshold on D_v, images that the run was trained on" in said
        assert "give --threshold, or none to take the stored one" in said
    said = refused(capsys, "evaluate", "run", "--adaptive", "--data", "other.npz", "--weights", "best")
    assert "no threshold is stored, and eq. 10 chooses the threshold on D_v" in said
    main(["evaluate", "run", "--adaptive", "--data", "other.npz"])
    assert "The images of the run are not there any more" in " ".join(capsys.readouterr().out.split())
    there = read_adaptive(Path("run"))
    assert there is not None
    assert measured(there) == measured(right)
    assert (there.chosen_on, there.curve_chosen, there.on_chosen) == (None, (), None)


@pytest.mark.usefixtures("no_page")
def test_a_teacher_that_is_gone_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree("runs/teachers")
    main(["evaluate", "run", "--adaptive"])
    said = " ".join(capsys.readouterr().out.split())
    assert "The teacher resnet8 cannot be built again: it was trained for the run, and is not in" in said
    adaptive = read_adaptive(Path("run"))
    assert adaptive is not None
    assert [row.name for row in adaptive.rows] == ["S_0", "S_1", "S_2", "adaptive"]
    assert {row.percent_of_teacher for row in adaptive.rows} == {None}
