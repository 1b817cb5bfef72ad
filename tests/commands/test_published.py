"""Runs with a published set-up: their folders, options that follow from others, read-outs, and CD's gamma."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cohobate import cli
from cohobate.config.groups import Training

QUICK = ["--data", "digits", "--train-images", "60", "--epochs", "1", "--batch-size", "30", "--device", "cpu"]
QUICK += ["--model", "resnet8", "--quiet"]
ROOT = Path("both")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")


def compare(*arguments: str, setup: str = "diversity/cifar100", seeds: str = "0") -> None:
    cli.main(["compare", *arguments, "--setup", setup, *QUICK, "--seeds", seeds, "--out", str(ROOT)])


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    config, result = (folder / "run.yaml").read_text(), (folder / "result.json").read_text()
    return yaml.safe_load(config), json.loads(result)


def only(method: str, root: Path = ROOT) -> dict[str, Any]:
    """The result of the method's one run below a folder."""
    (file,) = root.rglob(f"{method}*/seed-0/result.json")
    result: dict[str, Any] = json.loads(file.read_text())
    return result


def error(result: dict[str, Any], readout: str) -> float:
    return float(result["last"]["test"][readout]["top1_error"])


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit):
        cli.main(arguments)
    return capsys.readouterr().err


# ---------------------------------------------------------------- folders


def named(setup: str, **changed: Any) -> Path:
    """The folder of a run with the set-up and some options of another value."""
    from cohobate.commands.published import named_folder
    from cohobate.papers.setups import find_setup

    return named_folder(Training(**{**find_setup(setup).options, **changed}), setup)


def test_two_pairs_with_one_student_have_folders_of_their_own() -> None:
    from cohobate.papers.setups import setups

    folders = {name: named(name) for name in setups()}
    assert folders["slkd/vgg13-mobilenet_v2"] == Path("runs/slkd-vgg13-mobilenet_v2")
    assert len(set(folders.values())) == len(folders)


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({}, "slkd-resnet56-resnet8"),
        ({"teacher": ()}, "slkd-resnet56-resnet8"),
        ({"model": "resnet14"}, "slkd-resnet56-resnet8-resnet14"),
        ({"data": "/images/cub200"}, "slkd-resnet56-resnet8-cub200"),
        ({"teacher": ("resnet14", "resnet20")}, "slkd-resnet56-resnet8-resnet14-resnet20"),
    ],
)
def test_what_is_not_the_set_ups_is_part_of_the_name(changed: dict[str, Any], name: str) -> None:
    assert named("slkd/resnet56-resnet8", **changed) == Path("runs") / name


def test_a_run_goes_to_the_folder_of_its_set_up() -> None:
    cli.main(["train", "baseline", "--setup", "self_guidance/cifar100", *QUICK])
    config, result = read(Path("runs/self_guidance-cifar100-digits-resnet8/baseline/seed-0"))
    assert (config["weight_decay"], config["val_fraction"]) == (1e-4, 0)
    # Figures 2 to 4 draw both errors over the epochs.
    metrics = json.loads(
        Path("runs/self_guidance-cifar100-digits-resnet8/baseline/seed-0/metrics.jsonl").read_text()
    )
    assert metrics["train"]
    assert metrics["test"]
    assert result["predictor"] == "network"


def test_the_page_of_slkds_set_up_has_figure_3() -> None:
    """The accuracy of the SL-teachers: no image is held out, so it is measured on the test images."""
    teacher = ["--teacher", "resnet8", "--teacher-epochs", "1"]
    cli.main(["train", "slkd", "--setup", "slkd/vgg13-vgg8", *QUICK, *teacher, "--out", "run"])
    page = Path("run/report.html").read_text()
    assert "trajectory enforcement" in page
    assert "test accuracy, percent" in page


def test_a_sweep_goes_to_the_folder_of_its_set_up() -> None:
    arguments = ["sweep", "baseline", "--lr", "0.1,0.2", "--setup", "frskd/cifar100"]
    cli.main([*arguments, *QUICK, "--model", "resnet8"])
    assert Path("runs/sweep-baseline-lr-frskd-cifar100-digits-resnet8/sweep.json").exists()


# ---------------------------------------------------------------- options that follow from others


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The options of every `cohobate train ... --dry-run`, instead of the plan."""
    from cohobate.commands import outlook

    seen: list[Any] = []
    monkeypatch.setattr(outlook, "show_plan", lambda method, config: seen.append(config))
    return seen


@pytest.mark.parametrize(
    ("flags", "beta", "mixing_alpha"),
    [
        ([], 200.0, None),
        (["--features", "overhaul"], None, None),
        (["--features", "at_norm"], None, None),
        (["--features", "fitnet", "--beta", "3"], 3.0, None),
        (["--beta", "100"], 100.0, None),
        (["--mixing", "mixup"], 200.0, 0.3),
        (["--mixing", "mixup", "--mixing-alpha", "0.7"], 200.0, 0.7),
        (["--mixing", "cutmix"], 200.0, None),
    ],
)
def test_beta_and_the_mixing_of_the_fine_grained_sets(
    planned: list[Any], flags: list[str], beta: float | None, mixing_alpha: float | None
) -> None:
    cli.main(["train", "frskd", "--setup", "frskd/fgvr", "--data", "digits", *flags, "--dry-run"])
    assert (planned[0].beta, planned[0].mixing_alpha) == (beta, mixing_alpha)


def test_each_feature_term_of_a_comparison_has_its_own_beta() -> None:
    from cohobate.commands.compare import configure
    from cohobate.papers.setups import find_setup

    shared = Training(**{**find_setup("frskd/imagenet").options, "data": "digits"})
    betas = {
        spec: configure(spec, shared, "frskd/imagenet")[1].beta  # type: ignore[attr-defined]
        for spec in ("frskd", "frskd:features=overhaul", "frskd:features=at_norm", "frskd:beta=1")
    }
    assert list(betas.values()) == [200.0, None, None, 1]


# ---------------------------------------------------------------- read-outs


def test_the_table_and_the_gain_are_of_the_read_out_that_the_paper_means() -> None:
    compare("baseline", "one", "okddip")
    base, one, okddip = only("baseline"), only("one"), only("okddip")
    entries = {e["method"]: e for e in json.loads((ROOT / "table.json").read_text())["entries"]}
    assert {method: entry["last"]["mean"] for method, entry in entries.items()} == {
        "baseline": error(base, "network"),
        "one": pytest.approx(error(one, "peer_mean")),
        "okddip": error(okddip, "leader"),
    }
    assert error(one, "peer_mean") != error(one, "peer_1"), "else the test sees nothing"
    assert entries["one"]["gain"]["mean"] == pytest.approx(error(base, "network") - error(one, "peer_mean"))
    page, text = (ROOT / "index.html").read_text(), (ROOT / "table.md").read_text()
    assert "those of its read-out peer_mean; deployed is peer_1" in text
    assert "peer_mean (reported)" in text
    assert "those of its read-out peer_mean" in page


def test_a_flag_names_another_read_out_and_one_that_no_method_has_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    compare("baseline", "one", "--readout", "ensemble")
    one = only("one")
    table = json.loads((ROOT / "table.json").read_text())
    means = {entry["method"]: entry["last"]["mean"] for entry in table["entries"]}
    assert means["one"] == pytest.approx(error(one, "ensemble"))
    # The same runs, read out differently: nothing is trained again.
    capsys.readouterr()
    cli.main(["report", str(ROOT), "--readout", "peer_2"])
    table = json.loads((ROOT / "report" / "table.json").read_text())
    assert table["entries"][1]["last"]["mean"] == pytest.approx(error(one, "peer_2"))
    arguments = ["baseline", "one", "--setup", "diversity/cifar100", *QUICK, "--readout", "leeder"]
    said = fails(capsys, "compare", *arguments, "--out", "new")
    assert "no method has a read-out 'leeder'" in said
    assert "peer_1, peer_2, peer_3, ensemble, peer_mean" in said
    assert not Path("new").exists()
    assert "no run has a read-out 'leeder'" in fails(capsys, "report", str(ROOT), "--readout", "leeder")


def test_an_unknown_read_out_of_a_method_is_refused_before_training(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = fails(capsys, "train", "one", "--readout", "leader", *QUICK, "--out", "run")
    assert "one has no read-out 'leader'; it has peer_1, peer_2, peer_3, ensemble, peer_mean" in said
    assert not Path("run").exists()
    said = fails(capsys, "compare", "baseline", "one:readout=leader", *QUICK, "--out", "both")
    assert "one has no read-out 'leader'" in said
    assert not Path("both").exists()


def test_the_dashed_line_of_a_sweep_is_of_the_read_out_that_the_paper_means() -> None:
    arguments = ["sweep", "okddip", "--alpha", "0.5,1", "--beside", "one", "baseline", "--out", "swept"]
    cli.main([*arguments, "--setup", "diversity/cifar100", *QUICK])
    swept = json.loads(Path("swept/sweep.json").read_text())
    beside = {row["name"].split()[0]: row["trials"][0]["test"] for row in swept["beside"]}
    assert beside["one"] == pytest.approx(error(only("one", Path("swept")), "peer_mean"))
    okddip = only("alpha=0.5", Path("swept"))
    assert swept["rows"][0]["trials"][0]["test"] == error(okddip, "leader")


def test_methods_of_one_comparison_branch_at_one_place() -> None:
    """``sa`` is OKDDip's attention on the paper's branches: with the set-up both have its parameters."""
    compare("okddip", "sa", "one", "gate")
    trained = {name: only(name)["parameters_trained"] for name in ("okddip", "sa", "one", "gate")}
    assert trained["okddip"] == trained["sa"]
    deployed = only("one")["parameters_deployed"]
    # Three branches and four, each a network without the shared stem and first stage; the gate weighs three.
    shared = deployed - (trained["gate"] - trained["one"])
    assert 0 < shared < deployed / 10


# ---------------------------------------------------------------- the gamma of CD


def test_gamma_is_recorded_and_one_for_all_seeds() -> None:
    compare("gate_cd", "ffm_cd", seeds="0,1")
    runs = {
        (method, seed): read(ROOT / method / f"seed-{seed}")
        for method in ("gate_cd", "ffm_cd")
        for seed in (0, 1)
    }
    gamma = runs["gate_cd", 0][1]["computed"]["gamma"]
    assert gamma > 0
    for method in ("gate_cd", "ffm_cd"):
        first, second = runs[method, 0], runs[method, 1]
        assert (first[0]["gamma"], first[1]["computed"]) == (None, {"gamma": gamma})
        assert (second[0]["gamma"], second[1]["computed"]) == (gamma, {})
        assert second[1]["label"] == method
    text = (ROOT / "table.md").read_text()
    assert f"gate_cd: gamma {gamma:.3g}, computed from the first seed's initial weights" in text
    # The same comparison again finds both runs.
    before = (ROOT / "gate_cd/seed-1/result.json").stat().st_mtime_ns
    compare("gate_cd", "ffm_cd", seeds="0,1")
    assert (ROOT / "gate_cd/seed-1/result.json").stat().st_mtime_ns == before


def test_a_run_that_began_with_a_gamma_of_its_own_keeps_it_and_the_table_says_so() -> None:
    out = ["--out", str(ROOT / "gate_cd/seed-1")]
    cli.main(["train", "gate_cd", "--setup", "diversity/cifar100", *QUICK, "--seed", "1", *out])
    compare("gate_cd", seeds="0,1")
    gammas = [read(ROOT / f"gate_cd/seed-{seed}")[1]["computed"]["gamma"] for seed in (0, 1)]
    assert gammas[0] != gammas[1]
    assert "gate_cd: gamma is not the same for every seed" in (ROOT / "table.md").read_text()
    page = (ROOT / "gate_cd/seed-1/report.html").read_text()
    assert "gamma, computed" in page
    assert f"{gammas[1]:.3g}" in page
