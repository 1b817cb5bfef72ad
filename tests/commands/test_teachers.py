"""Teachers: found, trained once and kept, averaged, shown the images as they know them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from command_line import refused
from safetensors.torch import save_file
from torch import Tensor, nn

from cohobate.cli import main
from cohobate.commands.images import read_data
from cohobate.commands.teachers import teacher_run
from cohobate.core import Frozen, Mean, Output
from cohobate.engine.checkpoint import read_state
from cohobate.models.build import build
from cohobate.models.surgery.normalised import Renormalised
from cohobate.recipes.job import Job
from cohobate.recipes.options import options
from cohobate.recipes.teachers import teacher, untrained
from cohobate.runs.layout import RunFolder

QUICK = ["--epochs", "2", "--device", "cpu", "--quiet"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def weights(run: str) -> dict[str, Tensor]:
    return read_state(Path(run) / "deployed.safetensors").tensors


def same(one: str, two: str) -> bool:
    first, second = weights(one), weights(two)
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def job(*specs: str, say: Callable[[str], None] = lambda message: None) -> Job:
    config = options("kd", {"teacher": specs, "device": "cpu"})
    return Job(config, read_data(config), say)


def test_a_teacher_is_trained_once_and_kept(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "kd", "--teacher", "resnet14", "--epochs", "2", "--device", "cpu"]
    main([*command, "--out", "first"])
    assert "teacher resnet14: training it first, 2 epochs" in capsys.readouterr().err
    (kept,) = Path("runs/teachers").glob("digits-resnet14-*")
    main([*command, "--out", "second"])
    said = capsys.readouterr().err
    assert "training it first" not in said
    assert f"kept in {kept}" in said
    # Finding the teacher instead of training it changes no draw of the student's.
    assert same("first", "second")
    lines = [json.loads(line) for line in Path("first/metrics.jsonl").read_text().splitlines()]
    assert [line["phase"] for line in lines] == ["student", "student"]
    # The kept teacher is the baseline's run, and can be named as one.
    main(["train", "baseline", "--model", "resnet14", *QUICK, "--out", "teacher"])
    assert same("teacher", str(kept))
    main(["train", "kd", "--teacher", "teacher", *QUICK, "--out", "third"])
    main(["train", "kd", "--teacher", "teacher/deployed.safetensors", *QUICK, "--out", "fourth"])
    assert same("first", "third")
    assert same("first", "fourth")


def test_another_configuration_is_another_teacher() -> None:
    given = {"teacher": ("resnet14",), "device": "cpu"}
    plain = teacher_run("resnet14", options("kd", given), "data")
    for changed in ({"lr": 0.01}, {"teacher_epochs": 7}, {"teacher_lr": 0.3}, {"teacher_seed": 1}):
        assert teacher_run("resnet14", options("kd", {**given, **changed}), "data")[1] != plain[1]
    assert teacher_run("resnet14", options("kd", given), "other data")[1] != plain[1]
    assert teacher_run("resnet20", options("kd", given), "data")[1] != plain[1]
    # What belongs to the student, or to how it is computed, makes no other teacher.
    for changed in ({"seed": 5}, {"precision": "bf16"}, {"weight": 0.5}, {"augmentations": 3}):
        assert teacher_run("resnet14", options("kd", {**given, **changed}), "data")[1] == plain[1]
    # How its images are changed and mixed is shared, as the smoothing of labels is.
    for changed in ({"label_smoothing": 0.1}, {"mixing": "mixup"}, {"autoaugment": "cifar"}, {"cutout": 4}):
        config, folder = teacher_run("resnet14", options("kd", {**given, **changed}), "data")
        assert folder != plain[1]
        assert all(getattr(config, name) == value for name, value in changed.items())
    config = teacher_run("resnet14", options("kd", {**given, "teacher_epochs": 7, "teacher_lr": 0.3}), "x")[0]
    assert (config.model, config.teacher, config.epochs, config.lr, config.seed) == (
        "resnet14",
        (),
        7,
        0.3,
        0,
    )


@pytest.mark.parametrize("size", [24, (24, 16)])
def test_a_teacher_kept_under_the_name_of_before_is_found(size: int | tuple[int, int]) -> None:
    """The names of kept teachers had no size of the images, and their options not all of those of today."""
    asked = options("kd", {"data": "some/photos", "teacher": ("resnet14",), "image_size": size})
    config, new = teacher_run("resnet14", asked, "data")
    assert new.path.name.startswith("photos-24x")
    old = RunFolder(Path("runs/teachers/photos-resnet14-0123456789"))
    old.path.mkdir(parents=True)
    recorded = config.model_dump(mode="json", exclude={"eval_resize", "random_scale", "clip_value"})
    old.config.write_text(json.dumps(recorded))
    old.provenance.write_text(json.dumps({"data_fingerprint": "data"}))
    assert teacher_run("resnet14", asked, "data")[1] == old
    assert teacher_run("resnet14", asked, "other data")[1] != old
    other = asked.model_copy(update={"image_size": None})
    assert teacher_run("resnet14", other, "data")[1] != old


def test_several_teachers_are_averaged() -> None:
    for name in ("resnet8", "resnet14"):
        save_file(build(name, 10).state_dict(), f"{name}.safetensors")
    specs = [f"{name}:weights={name}.safetensors" for name in ("resnet8", "resnet14")]
    both = teacher(job(*specs))
    x = torch.randn(4, 3, 8, 8)
    logits = [teacher(job(spec))(x).logits for spec in specs]
    torch.testing.assert_close(both(x).logits, (logits[0] + logits[1]) / 2)
    assert isinstance(both, Frozen)
    first = teacher(job(specs[0]))(x)
    assert all(map(torch.equal, both(x).stages, first.stages))
    assert len(both(x).stages) == 3


def test_a_mean_of_different_classes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"different shapes: \[\(2, 3\), \(2, 4\)\]"):
        Mean([nn.Linear(5, 3), nn.Linear(5, 4)])(torch.zeros(2, 5))
    with pytest.raises(ValueError, match="at least one network"):
        Mean([])


def test_renormalised_shows_what_the_network_knows() -> None:
    pixels = torch.rand(2, 3, 4, 4)

    def normalised(mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
        return (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)

    class Shown(nn.Module):
        def forward(self, x: Tensor) -> Output:
            return Output(x)

    ours, theirs = ((0.5, 0.4, 0.3), (0.2, 0.3, 0.25)), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    shown = Renormalised(Shown(), ours, theirs)(normalised(*ours)).logits
    torch.testing.assert_close(shown, normalised(*theirs), rtol=1e-5, atol=1e-5)


def test_mean_and_deviation_in_the_name_of_a_teacher() -> None:
    network = build("resnet8", 10).eval()
    save_file(network.state_dict(), "t.safetensors")
    said: list[str] = []
    work = job("resnet8:weights=t.safetensors:mean=0.5/0.4/0.3:std=0.2/0.3/0.25", say=said.append)
    x = torch.randn(2, 3, 8, 8)
    found = teacher(work)(x).logits
    ours = work.dataset.mean, work.dataset.std
    expected = Renormalised(network, ours, ((0.5, 0.4, 0.3), (0.2, 0.3, 0.25)))(x).logits
    torch.testing.assert_close(found, expected)
    assert "by its own mean and deviation, 0.5000/0.4000/0.3000 and 0.2000/0.3000/0.2500" in said[-1]
    with pytest.raises(ValueError, match=r"three numbers, 0\.5/0\.5/0\.5, got '0\.5/0\.5'"):
        teacher(job("resnet8:weights=t.safetensors:mean=0.5/0.5:std=0.2/0.3/0.25"))
    with pytest.raises(ValueError, match="mean and std belong together"):
        teacher(job("resnet8:weights=t.safetensors:mean=0.5/0.5/0.5"))
    with pytest.raises(ValueError, match="of a teacher that has its weights; resnet8 learns from our images"):
        teacher(job("resnet8:mean=0.5/0.5/0.5:std=0.2/0.2/0.2"))


def test_a_run_that_saw_other_images_is_renormalised() -> None:
    """The header of a deployed network says how its images were normalised."""
    main(["train", "baseline", *QUICK, "--train-images", "600", "--epochs", "1", "--out", "fewer"])
    facts = read_state(Path("fewer/deployed.safetensors")).facts
    work = job("fewer")
    assert tuple(facts["mean"]) != work.dataset.mean
    network = teacher(work).network
    assert isinstance(network, Renormalised)
    main(["train", "baseline", *QUICK, "--epochs", "1", "--out", "all"])
    assert not isinstance(teacher(job("all")).network, Renormalised)


def test_copies_of_the_teachers_architecture() -> None:
    main(
        ["train", "baseline", "--model", "resnet14:shortcut=padding", *QUICK, "--epochs", "1", "--out", "run"]
    )
    for spec in ("run", "run/deployed.safetensors", "resnet14:shortcut=padding"):
        copies = untrained(job(spec), 2)
        assert len(copies) == 2
        assert copies[0].state_dict().keys() == weights("run").keys()
        first = next(iter(copies[0].parameters()))
        assert not torch.equal(first, next(iter(copies[1].parameters())))
    with pytest.raises(ValueError, match="takes one, got resnet8, resnet14"):
        untrained(job("resnet8", "resnet14"), 2)


def test_a_teacher_without_weights_outside_a_run() -> None:
    with pytest.raises(ValueError, match="the teacher resnet8 has no weights, and is not trained here"):
        teacher(job("resnet8"))


def test_a_teacher_that_was_trained_stands_in_the_tables(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--teacher", "resnet14", *QUICK, "--epochs", "1"]
    main(["compare", "kd", "dkd", *given, "--seeds", "0,1", "--out", "c"])
    (kept,) = Path("runs/teachers").glob("digits-resnet14-*")
    facts = json.loads((kept / "result.json").read_text())
    error = facts["last"]["test"]["network"]["top1_error"]
    sentence = f"Teacher resnet14 (shared, not in any train time): test top-1 error {error:.2f} %,"
    assert sentence in " ".join(capsys.readouterr().out.split())
    (teacher,) = json.loads(Path("c/table.json").read_text())["teachers"]
    assert (teacher["model"], teacher["error"], teacher["taught"]) == ("resnet14", error, ["kd", "dkd"])
    assert teacher["train_seconds"] == facts["train_seconds"] > 0
    # The same run from the start, its teacher found instead of trained, records the same.
    main(["train", "kd", *given, "--out", "again"])
    assert sentence in " ".join(capsys.readouterr().out.split())
    runs = [json.loads(Path(run, "result.json").read_text())["teachers"] for run in ("c/kd/seed-0", "again")]
    assert runs[0] == runs[1] != []
    for page in ("c/table.md", "c/index.html", "again/report.html"):
        text = Path(page).read_text()
        assert "resnet14 (shared)" in text
        assert f"{error:.2f} (test)" in text


OWN = "import cohobate\ndef make(classes): return cohobate.build('resnet8', classes)\n"


def test_a_teacher_that_names_code_is_a_run_and_no_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("own.py").write_text(OWN)
    short = ["--train-images", "150", *QUICK]
    main(["train", "baseline", "--model", "own.py:make", *short, "--out", "teacher"])
    Path("given.safetensors").write_bytes(Path("teacher/deployed.safetensors").read_bytes())
    command = ["train", "kd", "--teacher", "given.safetensors", *short]
    error = refused(capsys, *command, "--out", "run")
    assert error.startswith("error: given.safetensors is of the network own.py:make, which is none of coho")
    assert "give its run" in error
    assert not Path("run").exists()
    main(["train", "kd", "--teacher", "teacher/deployed.safetensors", *short, "--out", "of_a_run"])
    # A run that has begun with it, before that was refused, goes on.
    with monkeypatch.context() as patch:
        patch.setattr("cohobate.commands.prepare.refuse_foreign", lambda specs: None)
        main([*command, "--out", "run"])
    Path("run/result.json").unlink()
    main([*command, "--out", "run"])
    assert Path("run/result.json").exists()
