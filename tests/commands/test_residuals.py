"""``cohobate residuals``: table 8 of ResKD from the folders of runs, against loops; what is refused."""

from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import fails, refused
from PIL import Image
from torch import Tensor, nn

from cohobate.analysis.cost import cost
from cohobate.cli import main
from cohobate.commands.gaps import evenly, gaps_of_runs, write_gaps
from cohobate.commands.images import read_data
from cohobate.config.groups import Training
from cohobate.engine.checkpoint import read_state, write_state
from cohobate.engine.errors import RunError
from cohobate.recipes.networks import make_network

SMALL = ["--train-images", "150", "--batch-size", "50", "--device", "cpu", "--quiet", "--lr", "0.02"]
RESKD = ["--teacher", "teacher", "--stop-share", "none"]


def train(method: str, *options: str, epochs: int = 2) -> None:
    main(["train", method, "--epochs", str(epochs), *SMALL, *options])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs that no test changes."""
    root = tmp_path_factory.mktemp("residuals")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        train("baseline", "--model", "resnet8", "--out", "teacher", epochs=4)
        train("reskd", *RESKD, "--model", "resnet8", "--stages", "2", "--out", "two")
        train("reskd", *RESKD, "--model", "resnet8", "--res-students", "resnet14", "--out", "other")
        train("ensemble", "--learn", "labels", "--model", "resnet8", "--out", "labels", epochs=1)
    return root


@pytest.fixture(autouse=True)
def elsewhere(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)
    monkeypatch.setenv("COLUMNS", "160")


# ---------------------------------------------------------------- by hand


def members(run: str, *models: str) -> list[nn.Module]:
    """The networks that a run deployed, built from its file."""
    tensors = read_state(Path(run) / "deployed.safetensors").tensors
    built = []
    for i, model in enumerate(models):
        network = make_network(model, 10, (3, 8, 8)).eval()
        prefix = f"networks.{i}." if len(models) > 1 else ""
        own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        network.load_state_dict(own)
        built.append(network)
    return built


def test_images() -> tuple[Tensor, Tensor]:
    """Normalised test images and labels."""
    dataset = read_data(Training(train_images=150))
    assert dataset.test is not None
    images = dataset.test()
    pixels = (images.x / 255 - torch.tensor(dataset.mean)) / torch.tensor(dataset.std)  # type: ignore[union-attr]
    return pixels.permute(0, 3, 1, 2), images.y


test_images.__test__ = False  # type: ignore[attr-defined]


def distance(a: list[float], b: list[float]) -> float:
    return math.sqrt(sum((one - two) ** 2 for one, two in zip(a, b, strict=True)))


def softmax(z: list[float]) -> list[float]:
    powers = [math.exp(value) for value in z]
    return [power / sum(powers) for power in powers]


class ByHand:
    """S_0, S_1 ... of a run beside its teacher, image by image."""

    def __init__(self, run: str, *models: str) -> None:
        self.x, self.y = test_images()
        self.networks = members(run, *models)
        (self.teacher,) = members("teacher", "resnet8")
        with torch.no_grad():
            self.t = self.teacher(self.x).logits.double()
            each = [network(self.x).logits.double() for network in self.networks]
        self.s = [sum(each[: i + 1], torch.zeros(())) for i in range(len(each))]

    def named(self) -> list[int]:
        answers = [s.argmax(1).tolist() for s in self.s]
        y = self.y.tolist()
        wrong = [i for i in range(len(y)) if answers[0][i] != y[i]]
        return [i for i in wrong if any(later[i] == y[i] for later in answers[1:])]

    def l2(self, stage: int, rows: list[int]) -> float:
        return sum(distance(self.s[stage][i].tolist(), self.t[i].tolist()) for i in rows) / len(rows)

    def l2_probabilities(self, stage: int, rows: list[int]) -> float:
        pairs = ((softmax(self.s[stage][i].tolist()), softmax(self.t[i].tolist())) for i in rows)
        return sum(distance(*pair) for pair in pairs) / len(rows)

    def energy(self, stage: int, rows: list[int]) -> float:
        return sum(sum(p**2 for p in softmax(self.s[stage][i].tolist())) for i in rows) / len(rows)

    def right(self, stage: int, rows: list[int]) -> float:
        return 100 * sum(int(self.s[stage][i].argmax() == self.y[i]) for i in rows) / len(rows)

    def gi(self, stage: int, rows: list[int], *, last: bool = False) -> float:
        gaps = []
        for i in rows:
            outputs = [network(self.x[i : i + 1]).logits[0] for network in self.networks[: stage + 1]]
            loss = (sum(outputs, torch.zeros(())) - self.t[i].float()).square().sum()
            of = self.networks[stage : stage + 1] if last else self.networks[: stage + 1]
            gradients = torch.autograd.grad(loss, [p for network in of for p in network.parameters()])
            gaps.append(math.sqrt(sum(float(g.square().sum()) for g in gradients)))
        return sum(gaps) / len(gaps)


def lines_of(file: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    lines = csv.DictReader(file.read_text().splitlines())
    return {(line["images"], line["network"], line["made_of"]): line for line in lines}


def close(text: str, value: float) -> bool:
    return float(text) == pytest.approx(value, rel=2e-4, abs=2e-6)


# ---------------------------------------------------------------- from end to end


def test_the_command_measures_draws_and_prints(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    picture = tmp_path / "new" / "figure4.png"
    main(["residuals", "two", "--gi-images", "5", "--out", str(picture)])
    printed = capsys.readouterr().out
    assert printed.splitlines()[-2:] == [str(picture), str(picture.with_suffix(".csv"))]
    with Image.open(picture) as opened:
        assert (opened.format, opened.width > 1200) == ("PNG", True)
    by_hand = ByHand("two", "resnet8", "resnet8", "resnet8")
    lines = lines_of(picture.with_suffix(".csv"))
    sets = {"named": by_hand.named(), "all": list(range(len(by_hand.y)))}
    assert 3 < len(sets["named"]) < len(sets["all"])
    assert len(lines) == 2 * 4
    recorded = read_state(Path("two/deployed.safetensors")).facts["found"]["energy"]
    for (images, name, made_of), line in lines.items():
        rows = sets[images]
        assert line["count"] == str(len(rows))
        assert close(line["energy_d_v"], recorded[name])
        if name == "T":
            assert made_of == "teacher"
            assert line["l2_logits"] == line["gi"] == line["k"] == ""
            continue
        stage = int(name[2:])
        assert made_of == " + ".join(["resnet8"] * (stage + 1))
        size = cost(make_network("resnet8", 10, (3, 8, 8)), (3, 8, 8))
        assert int(line["parameters"]) == (stage + 1) * size.parameters
        assert int(line["macs"]) == (stage + 1) * size.macs
        assert close(line["top1_accuracy_percent"], by_hand.right(stage, sets["all"]))
        assert close(line["top1_error_percent"], 100 - by_hand.right(stage, sets["all"]))
        assert close(line["energy_split"], by_hand.energy(stage, sets["all"]))
        assert close(line["right_percent"], by_hand.right(stage, rows))
        assert close(line["energy"], by_hand.energy(stage, rows))
        assert close(line["l2_logits"], by_hand.l2(stage, rows))
        assert line["gi_over_c1"] == line["l2_logits"]
        assert close(line["l2_probabilities"], by_hand.l2_probabilities(stage, rows))
        some = [rows[round(j * (len(rows) - 1) / 4)] for j in range(5)]
        assert line["gi_images"] == "5"
        assert close(line["gi"], by_hand.gi(stage, some))
        assert close(line["gi_last"], by_hand.gi(stage, some, last=True))
        if stage:
            k = 1 - by_hand.l2(stage, rows) / by_hand.l2(stage - 1, rows)
            assert float(line["k"]) == pytest.approx(k, abs=2e-4)
        else:
            assert line["k"] == ""
        for column in ("l2_logits", "l2_probabilities", "gi", "gi_last"):
            assert f"{float(line[column]):.3f}" in printed
    assert f"the {len(sets['named'])} images of the test split that S_0 gets wrong" in printed


def test_the_picture_shows_the_logits_in_the_teachers_plane() -> None:
    said: list[str] = []
    residuals, cloud = gaps_of_runs([Path("two")], gi_images=0, say=said.append)
    by_hand = ByHand("two", "resnet8", "resnet8", "resnet8")
    rows = by_hand.named()
    t = by_hand.t[rows].numpy()
    _, singular, vectors = torch.linalg.svd(torch.from_numpy(t - t.mean(0)), full_matrices=False)
    axes = vectors[:2] * vectors[:2].gather(1, vectors[:2].abs().argmax(1, keepdim=True)).sign()
    assert cloud.shares == pytest.approx((singular**2 / (singular**2).sum())[:2].tolist(), rel=1e-3)
    mean = by_hand.t[rows].mean(0)
    torch.testing.assert_close(cloud.points, (by_hand.t[rows] - mean) @ axes.T, rtol=1e-3, atol=1e-3)
    assert [panel.title for panel in cloud.panels] == ["S_0", "S_1", "S_2"]
    for stage, panel in enumerate(cloud.panels):
        wanted = (by_hand.s[stage][rows] - mean) @ axes.T
        torch.testing.assert_close(panel.points, wanted, rtol=1e-3, atol=1e-3)
        assert panel.distance == pytest.approx(by_hand.l2(stage, rows), rel=1e-4)
    assert said == []
    assert residuals.lines[1].gaps[0].gi is None
    assert cloud.about == residuals.about
    assert cloud.about.startswith("reskd stages=2")
    _, every = gaps_of_runs([Path("two")], images="all", gi_images=0)
    assert len(every.points) == len(by_hand.y)
    assert every.images == f"all {len(by_hand.y)} images of the test split"


def test_the_files_lie_in_the_runs_folder(tmp_path: Path) -> None:
    shutil.copytree("two", tmp_path / "two")
    main(["residuals", str(tmp_path / "two"), "--split", "val", "--gi-images", "0"])
    assert (tmp_path / "two" / "residuals.png").exists()
    lines = lines_of(tmp_path / "two" / "residuals.csv")
    assert {line["split"] for line in lines.values()} == {"val"}
    assert {line["gi"] for line in lines.values()} == {""}


# ---------------------------------------------------------------- several runs


def test_several_runs_share_teacher_and_s_0() -> None:
    """Table 8: each student once; the images are those that any student of any run gets right."""
    residuals, cloud = gaps_of_runs([Path("two"), Path("other")], gi_images=0)
    assert [(line.network, line.made_of) for line in residuals.lines] == [
        ("T", "teacher"),
        ("S_0", "resnet8"),
        ("S_1", "resnet8 + resnet8"),
        ("S_2", "resnet8 + resnet8 + resnet8"),
        ("S_1", "resnet8 + resnet14"),
    ]
    two = ByHand("two", "resnet8", "resnet8", "resnet8")
    other = ByHand("other", "resnet8", "resnet14")
    torch.testing.assert_close(other.s[0], two.s[0])
    rows = sorted({*two.named(), *other.named()})
    assert residuals.sets[0].count == len(rows) > len(two.named())
    gaps = [line.gaps[0] for line in residuals.lines]
    assert gaps[4].l2_logits == pytest.approx(other.l2(1, rows), rel=1e-4)
    # k_1 of the second run is measured from S_0, not from the line before.
    assert gaps[4].k == pytest.approx(1 - other.l2(1, rows) / two.l2(0, rows), abs=1e-4)
    assert gaps[3].k == pytest.approx(1 - two.l2(2, rows) / two.l2(1, rows), abs=1e-4)
    assert [panel.made_of for panel in cloud.panels] == [
        "resnet8 + resnet8 + resnet8",
        "resnet8 + resnet14",
    ]
    assert cloud.about == "2 runs on digits, S_0 resnet8"


def test_several_runs_are_drawn_in_the_folder_that_holds_them(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    for name in ("two", "other", "teacher"):
        shutil.copytree(name, tmp_path / "runs" / name)
    main(["residuals", *(str(tmp_path / "runs" / name) for name in ("two", "other")), "--gi-images", "0"])
    assert {path.name for path in (tmp_path / "runs").iterdir() if path.is_file()} == {
        "residuals.png",
        "residuals.csv",
    }


def test_runs_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree("other", changed)
    file = changed / "deployed.safetensors"
    state = read_state(file)
    moved = {k: v + 1 if k == "networks.0.fc.bias" else v for k, v in state.tensors.items()}
    write_state(file, state._replace(tensors=moved))
    with pytest.raises(ValueError, match=r"changed and two have different S_0.*each run alone"):
        gaps_of_runs([Path("two"), changed])
    shutil.copytree("teacher", tmp_path / "teacher")
    state = read_state(tmp_path / "teacher/deployed.safetensors")
    moved = {k: v + 1 if k == "fc.bias" else v for k, v in state.tensors.items()}
    write_state(tmp_path / "teacher/deployed.safetensors", state._replace(tensors=moved))
    config = (changed / "run.yaml").read_text()
    (changed / "run.yaml").write_text(config.replace("- teacher\n", f"- {tmp_path / 'teacher'}\n"))
    with pytest.raises(ValueError, match=r"changed and two have different teachers"):
        gaps_of_runs([Path("two"), changed])
    (changed / "run.yaml").write_text(config.replace("val_fraction: 0.1", "val_fraction: 0.2"))
    with pytest.raises(ValueError, match=r"changed has other val images than two"):
        gaps_of_runs([Path("two"), changed], split="val")
    edited(changed, mean=[0.1, 0.1, 0.1])  # the same labels of images that are normalised otherwise
    with pytest.raises(ValueError, match=r"changed has other test images than two"):
        gaps_of_runs([Path("two"), changed])


# ---------------------------------------------------------------- teachers


def test_a_run_without_a_teacher_takes_one(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "residuals", "labels")
    assert "labels (ensemble learn=labels) has no teacher to compare its students to" in said
    assert "--teacher" in said
    residuals, _ = gaps_of_runs([Path("labels")], teacher="teacher", gi_images=0)
    by_hand = ByHand("labels", "resnet8", "resnet8")
    rows = list(range(len(by_hand.y)))
    assert residuals.lines[2].gaps[1].l2_logits == pytest.approx(by_hand.l2(1, rows), rel=1e-4)
    assert residuals.lines[0].energy_found is None
    assert residuals.lines[1].energy_found is not None


def test_another_teacher_than_the_runs_own_is_measured(tmp_path: Path) -> None:
    residuals, _ = gaps_of_runs([Path("two")], teacher="labels", gi_images=0)
    assert residuals.lines[0].made_of == "labels"
    assert residuals.lines[0].energy_found is None  # on D_v, the run measured its own teacher


def test_a_teacher_that_is_gone_is_said(tmp_path: Path) -> None:
    shared = ["--teacher", "resnet8", "--teachers", str(tmp_path / "teachers")]
    train("ensemble", *shared, "--model", "resnet8", "--out", str(tmp_path / "run"), epochs=1)
    residuals, _ = gaps_of_runs([tmp_path / "run"], gi_images=0)
    assert residuals.lines[0].made_of == "resnet8"
    shutil.rmtree(tmp_path / "teachers")
    with pytest.raises(RunError, match=r"the teacher resnet8 of this run is not in .*teachers"):
        gaps_of_runs([tmp_path / "run"])


# ---------------------------------------------------------------- images


def test_a_note_on_vmap_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, _ = gaps_of_runs([Path("other")], gi_images=3)

    def fail(*arguments: Any) -> Tensor:
        raise RuntimeError("no rule")

    monkeypatch.setattr("cohobate.analysis.residuals.vmap", lambda function, **how: fail)
    said: list[str] = []
    found, _ = gaps_of_runs([Path("other")], gi_images=3, say=said.append)
    assert [text.endswith("image by image, as vmap stops at: no rule") for text in said] == [True]
    for one, two in zip(wanted.lines[1:], found.lines[1:], strict=True):
        assert one.gaps[0].gi == pytest.approx(two.gaps[0].gi, rel=1e-4)


def test_images_are_spread_evenly() -> None:
    assert evenly(torch.arange(100, 111), 3).tolist() == [100, 105, 110]
    assert evenly(torch.arange(4), 9).tolist() == [0, 1, 2, 3]
    assert evenly(torch.arange(4), 0).tolist() == []
    assert evenly(torch.arange(0), 5).tolist() == []


def test_where_table_8_names_no_image_all_are_shown(tmp_path: Path) -> None:
    """A second member of zeros: S_1 is S_0."""
    shutil.copytree("other", tmp_path / "other")
    file = tmp_path / "other/deployed.safetensors"
    state = read_state(file)
    zeros = {k: torch.zeros_like(v) if k.startswith("networks.1.fc") else v for k, v in state.tensors.items()}
    write_state(file, state._replace(tensors=zeros))
    said: list[str] = []
    residuals, cloud = gaps_of_runs([tmp_path / "other"], gi_images=2, say=said.append)
    assert len(said) == 1
    assert "of the test split that is 0, too few for a picture, so it shows all images" in said[0]
    assert cloud.images.startswith("all ")
    assert residuals.sets[0].count == 0
    assert residuals.lines[1].gaps[0].l2_logits is None
    assert residuals.lines[2].gaps[1].k == 0
    # S_1 has the gradients of S_0, and those of its own last layer.
    zero, one = (line.gaps[1] for line in residuals.lines[1:])
    assert zero.gi == zero.gi_last
    assert one.gi is not None
    assert one.gi_last is not None
    assert one.gi > max(one.gi_last, zero.gi or 0)


# ---------------------------------------------------------------- what is refused


def test_a_single_network_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "residuals", "teacher")
    assert "teacher (baseline) deploys a single network, resnet8" in said
    assert "reskd, ensemble or trained_together" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["two", "other", "two"], "two is named twice"),
        (["two", "--out", "figure.svg"], "its name ends in .png; got figure.svg"),
        (["two", "--gi-images", "-1"], "greater than or equal to 0"),
        (["nowhere"], "the folder nowhere does not exist"),
        ([], "name the folder of a run"),
    ],
)
def test_wrong_words_are_refused(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    assert said in refused(capsys, "residuals", *arguments)


def test_unfinished_and_broken_runs_are_refused(tmp_path: Path) -> None:
    shutil.copytree("other", tmp_path / "other")
    file = tmp_path / "other/deployed.safetensors"
    state = read_state(file)
    broken = {k: v * torch.inf if k == "networks.1.fc.bias" else v for k, v in state.tensors.items()}
    write_state(file, state._replace(tensors=broken))
    with pytest.raises(RunError, match=r"logits of the networks of .*other are not finite"):
        gaps_of_runs([tmp_path / "other"])
    (tmp_path / "other/result.json").unlink()
    with pytest.raises(RunError, match="has not finished"):
        gaps_of_runs([tmp_path / "other"])


def edited(run: Path, **facts: Any) -> None:
    """Change the header of what a run deployed."""
    state = read_state(run / "deployed.safetensors")
    write_state(run / "deployed.safetensors", state._replace(facts={**state.facts, **facts}))


def test_images_are_normalised_as_the_networks_know_them(tmp_path: Path) -> None:
    """By the statistics of the run, and for the teacher by its own, whatever the data are by now."""
    run = tmp_path / "other"
    shutil.copytree("other", run)
    mean = read_state(run / "deployed.safetensors").facts["mean"]
    edited(run, mean=[value + 0.1 for value in mean])
    provenance = (run / "provenance.json").read_text()
    fingerprint = json.loads(provenance)["data_fingerprint"]
    (run / "provenance.json").write_text(provenance.replace(fingerprint, "0" * 32))
    said: list[str] = []
    residuals, _ = gaps_of_runs([run], gi_images=0, say=said.append)
    assert said[0] == f"note: digits does not hold the images that {run} was trained on, or no longer"
    by_hand = ByHand("other", "resnet8", "resnet14")
    rows = list(range(len(by_hand.y)))
    before = by_hand.l2(0, rows)
    std = torch.tensor(read_state(run / "deployed.safetensors").facts["std"])[:, None, None]
    with torch.no_grad():
        by_hand.s[0] = by_hand.networks[0](by_hand.x - 0.1 / std).logits.double()
    found = residuals.lines[1].gaps[1].l2_logits
    assert found == pytest.approx(by_hand.l2(0, rows), rel=1e-3)
    assert found != pytest.approx(before, rel=1e-2)


def test_other_classes_than_the_networks_are_refused(tmp_path: Path) -> None:
    shutil.copytree("other", tmp_path / "other")
    edited(tmp_path / "other", classes=[*"abcdefghij"])
    with pytest.raises(ValueError, match=r"have the classes a, b, c, d, e \.\.\., digits has now 0, 1, 2"):
        gaps_of_runs([tmp_path / "other"])


def test_python_is_told_as_well() -> None:
    with pytest.raises(ValueError, match=r"gi_images is a number of images, 0 to leave .* got -2"):
        gaps_of_runs([Path("two")], gi_images=-2)
    found: Any = gaps_of_runs([Path("two")], gi_images=0)
    with pytest.raises(ValueError, match=r"ends in \.png"):
        write_gaps(*found, Path("figure"))


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["residuals", "--help"])
    said = capsys.readouterr().out
    assert "table 8 and figures 4 to 6" in said
    assert "--gi-images" in said
    assert "--epochs" in fails(capsys, "residuals", "two", "--epochs", "3")
