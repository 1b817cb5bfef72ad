"""Runs on unlabelled images alone, and runs that stop early, from the command to the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from zoo import ZOO, StopAfter, batch, seeded, trainer

from cohobate.cli import main
from cohobate.commands import running
from cohobate.commands.feeds import make_feeds
from cohobate.core import IGNORED, Batch, Method
from cohobate.data.arrays import arrays
from cohobate.engine.checkpoint import read_state
from cohobate.engine.errors import Stopped
from cohobate.methods.distillation import Distillation
from cohobate.methods.supervised import Supervised
from cohobate.models.build import build
from cohobate.recipes.catalogue import TERMS

QUICK = ["--device", "cpu", "--quiet", "--batch-size", "20"]
TEACHER = "resnet8:weights=teacher.safetensors"
ALONE = ["--teacher", TEACHER, "--unlabelled", "pictures", "--unlabelled-alone", *QUICK]
LABEL_FREE = [*ALONE, "--ce-weight", "0"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with 70 pictures and the weights of a teacher."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    Path("pictures").mkdir()
    for i in range(70):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(f"pictures/{i:02}.png")
    torch.manual_seed(0)
    save_file(build("resnet8", 10).state_dict(), "teacher.safetensors")


def result(folder: str) -> dict[str, Any]:
    return dict(json.loads(Path(folder, "result.json").read_text()))


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    return " ".join(capsys.readouterr().err.split())


# ---------------------------------------------------------------- unlabelled images alone


def test_a_run_on_unlabelled_images_alone(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "kd+at", *LABEL_FREE, "--epochs", "2", "--out", "run"])
    found = result("run")
    assert (found["unlabelled_images"], found["image_passes"]) == (70, 2 * 60)  # three batches of 20 an epoch
    assert found["last"]["test"]["student"]["images"] > 300
    losses = json.loads(Path("run/metrics.jsonl").read_text().splitlines()[0])["losses"]
    assert losses["ce"] == 0
    assert min(losses["kd"], losses["at"]) > 0
    assert "unlabelled training images, alone" in Path("run/report.html").read_text()
    main(["compare", "baseline", "kd:ce_weight=0", *ALONE, "--epochs", "1", "--seeds", "0", "--out", "c"])
    table = Path("c/table.md").read_text()
    assert "is trained on the 70 images of pictures alone, without a label; it is measured on" in table


def test_it_goes_on_to_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["train", "kd", *LABEL_FREE, "--epochs", "3", "--out"]
    main([*command, "whole"])
    with monkeypatch.context() as patch:
        patch.setattr(running, "Stopper", lambda minutes: StopAfter(5))
        with pytest.raises(SystemExit):
            main([*command, "cut"])
    main([*command, "cut"])
    one, two = (read_state(Path(run, "deployed.safetensors")).tensors for run in ("whole", "cut"))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_who_reads_labels_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "train", "kd", *ALONE, "--out", "run")
    assert "the cross-entropy (ce_weight 0.1) of Distillation reads them; set the weight" in said
    assert "DKD of Distillation reads" in refused(capsys, "train", "dkd", *LABEL_FREE, "--out", "run")
    assert "CRD of D" in refused(capsys, "train", "crd+kd", *LABEL_FREE, "--out", "run")
    assert "(alpha 0.1) of SLKD" in refused(capsys, "train", "slkd", *ALONE, "--out", "run")
    # The first phase, the hint, reads none; the second is refused before the first is trained.
    assert "ce_weight 0.1" in refused(
        capsys, "train", "fitnet_stages", *ALONE, "--epochs", "2", "--out", "run"
    )
    assert "log_train measures on the training images" in refused(
        capsys, "train", "kd", *LABEL_FREE, "--log-train", "--out", "run"
    )
    assert "give --unlabelled" in refused(capsys, "train", "kd", "--unlabelled-alone", *QUICK, "--out", "run")
    assert "unlabelled_share 2.0 mixes" in refused(capsys, "train", "kd", *ALONE, "--unlabelled-share", "2")
    smooth = refused(capsys, "train", "kd", *LABEL_FREE, "--label-smoothing", "0.1", "--out", "run")
    assert "label_smoothing 0.1 turns labels into probabilities" in smooth
    assert not Path("run").exists()
    with pytest.raises(ValueError, match=r"Supervised of Supervised reads them"):
        make_feeds(data(), torch.device("cpu"), 0, unlabelled=data().train, unlabelled_alone=True).train(
            Supervised(build("resnet8", 2)), trainer_settings()
        )


def data() -> Any:
    x = np.random.default_rng(1).integers(0, 256, (40, 8, 8, 3), np.uint8)
    return arrays(x, np.arange(40) % 2)


def trainer_settings() -> Any:
    from cohobate.config.groups import Settings

    return Settings(batch_size=8, device="cpu", compile="off")


TAUGHT = {name: case for name, case in ZOO.items() if isinstance(case.make(), Distillation)}


def losses_with(method: Method, shown: Batch) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    with torch.no_grad():
        return method.eval()(shown)


@pytest.mark.parametrize("name", TAUGHT)
def test_what_a_term_declares_is_so(name: str) -> None:
    """Other labels change the loss of those terms that read labels, and of no others."""
    method = seeded(TAUGHT[name].make)
    assert isinstance(method, Distillation)
    shown = batch()
    other = shown._replace(y=(shown.y + 1) % (int(shown.y.max()) + 1))
    none = shown._replace(y=torch.full_like(shown.y, IGNORED), index=shown.index)
    before, after = losses_with(method, shown), losses_with(method, other)
    for term, module in method.terms.items():
        if not module.reads_labels:
            assert torch.equal(before[term], after[term]), term
            assert torch.equal(before[term], losses_with(method, none)[term]), term


def test_the_terms_that_read_labels() -> None:
    from cohobate.config.declared import imported

    assert {name for name, place in TERMS.items() if imported(place).reads_labels} == {"dkd", "crd"}


def test_the_logits_of_unlabelled_images_are_stored_too() -> None:
    options = [*LABEL_FREE, "--epochs", "2", "--augmentations", "1", "--out"]
    main(["train", "kd", *options, "kept", "--cache-teacher", "on"])
    main(["train", "kd", *options, "computed", "--cache-teacher", "off"])
    one, two = (read_state(Path(run, "deployed.safetensors")).tensors for run in ("kept", "computed"))
    assert all(torch.equal(one[key], two[key]) for key in one)


# ---------------------------------------------------------------- early stopping


STILL = ["--lr", "1e-12", "--weight-decay", "0", "--train-images", "200", "--patience", "2", *QUICK]
"""Nothing is learned, so that the validation error soon stops improving."""


def epochs_of(run: str) -> list[float]:
    lines = map(json.loads, Path(run, "metrics.jsonl").read_text().splitlines())
    return [next(iter(line["val"].values()))["top1_error"] for line in lines]


def test_a_run_stops_when_its_error_does_not_improve(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "baseline", *STILL, "--epochs", "30", "--out", "run"])
    errors = epochs_of("run")
    best = errors.index(min(errors))
    assert len(errors) == best + 1 + 2 < 30
    (phase,) = result("run")["phases"]
    assert (phase["epochs"], phase["of"], result("run")["last"]["epoch"]) == (len(errors), 30, len(errors))
    assert result("run")["best"]["epoch"] == best + 1
    text = f"topped after {len(errors)} of 30 epochs"
    assert f"S{text}." in capsys.readouterr().out
    assert f"s{text}, seed 0" in Path("run/report.html").read_text()
    # A stopped run has finished: the same command trains no more.
    before = Path("run/metrics.jsonl").read_bytes()
    loud = [word for word in STILL if word != "--quiet"]
    main(["train", "baseline", *loud, "--epochs", "30", "--out", "run"])
    assert "already finished: run" in capsys.readouterr().err
    assert Path("run/metrics.jsonl").read_bytes() == before


def test_an_interrupted_run_stops_where_the_whole_one_does(tmp_path: Path) -> None:
    def run(folder: str, stopper: StopAfter | None = None) -> Any:
        method = seeded(ZOO["baseline"].make)
        return trainer(method, tmp_path / folder, stopper, epochs=12, lr=1e-12, weight_decay=0, patience=2)

    whole = run("whole")
    whole.run()
    assert 3 <= whole.standing.epoch < 12
    with pytest.raises(Stopped):
        run("cut", StopAfter(5 * whole.standing.epoch - 2)).run()
    cut = run("cut")
    cut.run()
    assert cut.standing.history[-1]["val"] == whole.standing.history[-1]["val"]
    assert cut.standing.epoch == whole.standing.epoch
    # What has stopped is not gone on with.
    again = run("whole")
    assert again.finished
    again.run()
    assert again.standing.epoch == whole.standing.epoch


def test_each_phase_and_each_method_stops_for_itself_and_the_page_says_so() -> None:
    plan = ["--teacher", TEACHER, "--assistants", "resnet8"]
    main(["train", "takd", *plan, *STILL, "--epochs", "20", "--out", "plan"])
    phases = result("plan")["phases"]
    assert [phase["of"] for phase in phases] == [20, 20]
    assert all(3 <= phase["epochs"] < 20 for phase in phases)
    each = ", ".join(f"{phase['epochs']} of 20 epochs in {phase['phase']}" for phase in phases)
    assert f"stopped after {each}" in Path("plan/report.html").read_text()
    main(
        [
            "compare",
            "baseline",
            "kd",
            "--teacher",
            TEACHER,
            *STILL,
            "--epochs",
            "20",
            "--seeds",
            "0",
            "--out",
            "c",
        ]
    )
    for page in ("c/table.md", "c/index.html"):
        text = " ".join(Path(page).read_text().split())
        assert (
            "A phase stops when the validation top-1 error has not improved for 2 epochs (--patience)" in text
        )
        for method in ("baseline", "kd"):
            (phase,) = result(f"c/{method}/seed-0")["phases"]
            assert f"{method}, seed 0, stopped after {phase['epochs']} of 20 epochs" in text


def test_without_a_validation_split_it_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "train", "baseline", *STILL, "--val-fraction", "0", "--out", "run")
    assert "patience 2 stops a run by what it measures on the validation split, and digits has none" in said
    assert not Path("run").exists()
    trained = ["train", "kd", "--teacher", "resnet8", *STILL, "--val-fraction", "0", "--out", "run"]
    assert "patience 2" in refused(capsys, *trained)
    assert not Path("runs").exists()


def test_a_teacher_is_trained_to_its_end() -> None:
    main(["train", "kd", "--teacher", "resnet8", *STILL, "--epochs", "5", "--out", "run"])
    (teacher,) = result("run")["teachers"]
    assert teacher["epochs"] == 5 > result("run")["last"]["epoch"]


def test_a_sweep_says_it_too() -> None:
    given = ["--teacher", "resnet8", *STILL, "--epochs", "6", "--seeds", "0", "--out", "s"]
    main(["sweep", "kd", "--temperature", "1.0,4.0", *given])
    text = " ".join(Path("s/sweep.md").read_text().split())
    assert "not improved for 2 epochs (--patience)" in text
    assert "Teacher resnet8 (shared, not in any train time): test top-1 error" in text
