"""ResKD as a plan: its phases, when it ends and why, D_v, what is deployed and recorded, what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from by_name import made_for, plan_of
from command_line import refused
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from zoo import CLASSES, toy_images

import cohobate
from cohobate.analysis.cost import cost
from cohobate.cli import main
from cohobate.commands.compare import configure
from cohobate.commands.evaluate import evaluate_run
from cohobate.commands.feeds import all_logits
from cohobate.commands.images import read_data
from cohobate.commands.train import train as trained
from cohobate.config.files import read_config
from cohobate.core import Ending, Frozen, Sum, as_output, mean_energy, running_sums
from cohobate.data.arrays import arrays
from cohobate.engine.checkpoint import read_state
from cohobate.engine.plan import begin
from cohobate.methods.kd import KD
from cohobate.methods.l2 import L2
from cohobate.methods.reskd import EnsembleMember, MutualResKD, OfLogits, ResKD
from cohobate.methods.rkd import RKD
from cohobate.methods.slkd_fusion import Fusion
from cohobate.methods.supervised import Supervised
from cohobate.models.build import build
from cohobate.recipes.axis import check_values
from cohobate.recipes.energy import Energies, energy_images
from cohobate.recipes.job import Job
from cohobate.recipes.networks import rebuilt
from cohobate.recipes.options import options, recorded_options
from cohobate.runs.deployed import read_deployed

QUICK: dict[str, Any] = {
    "model": "resnet8",
    "epochs": 1,
    "train_images": 128,
    "batch_size": 32,
    "device": "cpu",
    "precision": "fp32",
    "lr": 0.05,
}
FLAGS = [text for key, value in QUICK.items() for text in (f"--{key.replace('_', '-')}", str(value))]
RES = ("resnet14", "resnet8")
OWN = """
import torch
from torch import nn


class Flat(nn.Module):
    def __init__(self, outputs, pixels=192):
        super().__init__()
        self.layer = nn.Linear(pixels, outputs)

    def forward(self, x):
        return self.layer(x.flatten(1))


def make(classes):
    return Flat(classes)


def eleven(classes):
    return Flat(11)


def spread(classes):
    return Flat(1)
"""


def saved(path: Path, sharpness: float) -> str:
    """A teacher whose logits have this factor, as it is typed."""
    torch.manual_seed(5)
    network = build("resnet8", 10)
    with torch.no_grad():
        network.get_parameter("fc.weight").mul_(sharpness)
        network.get_parameter("fc.bias").mul_(sharpness)
    save_file(network.state_dict(), path)
    return f"resnet8:weights={path}"


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One that is surer than students of one epoch."""
    return saved(tmp_path_factory.mktemp("teacher") / "sharp.safetensors", 30.0)


def train(out: Path, teacher: str | None, method: str = "reskd", **given: Any) -> dict[str, Any]:
    """The result of a run."""
    with_teacher = {} if teacher is None else {"teacher": (teacher,)}
    trained(method, options(method, {**QUICK, **with_teacher, **given}), out, quiet=True)
    return result(out)


def result(run: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((run / "result.json").read_text())
    return facts


@pytest.fixture(scope="module")
def run(teacher: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """S_0, R_1, R_2, whatever the energy."""
    out = tmp_path_factory.mktemp("runs") / "run"
    train(out, teacher, res_students=RES, stop_share=None)
    return out


def parameters(name: str) -> int:
    return sum(p.numel() for p in build(name, 10).parameters())


# ---------------------------------------------------------------- what is trained, deployed and recorded


def test_its_phases_and_their_networks(run: Path) -> None:
    facts = result(run)
    assert [(p["phase"], p["parameters_trained"]) for p in facts["phases"]] == [
        ("S_0", parameters("resnet8")),
        ("R_1", parameters("resnet14")),
        ("R_2", parameters("resnet8")),
    ]
    total = 2 * parameters("resnet8") + parameters("resnet14")
    assert facts["parameters_trained"] == facts["parameters_deployed"] == total
    assert facts["macs"] == sum(cost(build(n, 10), (3, 8, 8)).macs for n in ("resnet8", *RES))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["phase"] for line in lines] == ["S_0", "R_1", "R_2"]
    assert [list(line["val"]) for line in lines] == [
        ["student"],
        ["student", "S_0"],
        ["student", "S_0", "S_1"],
    ]
    # A finished network stays as it is.
    assert lines[0]["val"]["student"] == lines[1]["val"]["S_0"] == lines[2]["val"]["S_0"]
    assert lines[1]["val"]["student"] == lines[2]["val"]["S_1"]


def test_what_is_deployed(run: Path) -> None:
    last, best = (read_deployed(run / f"deployed{name}.safetensors") for name in ("", "-best"))
    for deployed in (last, best):
        assert deployed.members == ["resnet8", *RES]
        assert deployed.model == "resnet8"
    # The energies are those of the last weights.
    assert last.found == result(run)["found"]
    assert best.found == {}
    # Each network is the one that its phase ended with.
    for i, phase in enumerate(("S_0", "R_1", "R_2")):
        ended = read_state(run / phase / "last.safetensors").tensors
        for key, tensor in build(last.members[i], 10).state_dict().items():
            assert tensor.shape == last.tensors[f"networks.{i}.{key}"].shape
            own = next(v for k, v in ended.items() if k.endswith(f"network.{key}"))
            assert torch.equal(own, last.tensors[f"networks.{i}.{key}"])


def test_a_run_is_loaded_as_the_sum_of_its_last_phase(run: Path) -> None:
    network = cohobate.load(run)
    deployed = read_deployed(run)
    assert isinstance(network.network, Sum)
    assert network.class_names == tuple(map(str, range(10)))
    x = torch.randn(20, 3, 8, 8)
    logits = []
    for i, name in enumerate(deployed.members):
        alone = build(name, 10).eval()
        prefix = f"networks.{i}."
        alone.load_state_dict(
            {k.removeprefix(prefix): v for k, v in deployed.tensors.items() if k.startswith(prefix)}
        )
        with torch.no_grad():
            logits.append(as_output(alone(x)).logits)
    with torch.no_grad():
        assert torch.equal(network(x), logits[0] + logits[1] + logits[2])
        assert network.state_dict().keys() == deployed.tensors.keys()


def test_evaluation_is_that_of_the_run(run: Path) -> None:
    for weights in ("last", "best"):
        for split in ("test", "val"):
            measured, _, _ = evaluate_run(run, split, weights)  # type: ignore[arg-type]
            recorded = result(run)[weights][split]["student"]
            for name in ("top1_error", "nll"):
                assert measured[name] == pytest.approx(recorded[name], rel=1e-6), name


# ---------------------------------------------------------------- energies


def recomputed(run: Path, teacher: str) -> dict[str, float]:
    """The energies of a run from its files alone: networks, and the images of D_v drawn again."""
    config = recorded_options(
        "reskd", {k: v for k, v in read_config(run / "run.yaml").items() if k != "method"}
    )
    dataset = read_data(config, lambda message: None)
    images = energy_images(dataset, config.energy_split, config.energy_share, config.seed)
    whole = rebuilt(read_deployed(run))
    networks = [Job(config, dataset).build(teacher), *whole.networks]  # type: ignore[misc]
    of_teacher, *logits = (all_logits(n, images, dataset, torch.device("cpu"), 0) for n in networks)
    energies = [mean_energy(each) for each in running_sums(logits)]
    return {"T": mean_energy(of_teacher), **{f"S_{i}": each for i, each in enumerate(energies)}}


def test_energies_are_those_of_the_files(run: Path, teacher: str) -> None:
    found = result(run)["found"]
    assert found["energy"] == recomputed(run, teacher)
    assert found["threshold"] == found["energy"]["S_2"]
    assert (found["energy_images"], found["energy_split"]) == (13, "train")
    assert all(0.1 <= each <= 1 for each in found["energy"].values())


def test_energies_of_averaged_weights_in_half_precision_are_those_of_the_files(
    teacher: str, tmp_path: Path
) -> None:
    """Measured in float32, whatever the run computes in, with the weights that are deployed."""
    how = {"ema": 0.9, "precision": "bf16", "layout": "channels_last", "seed": 2, "epochs": 2}
    found = train(tmp_path / "run", teacher, stages=1, stop_share=None, **how)["found"]
    assert found["energy"] == recomputed(tmp_path / "run", teacher)


def test_it_ends_by_number(run: Path) -> None:
    found = result(run)["found"]
    assert (found["stopped"], found["reason"]) == ("stages", "no stage is left after 2 res-students")


def test_it_ends_by_energy(run: Path, teacher: str, tmp_path: Path) -> None:
    """After the first S_i above the share, and with the networks that a longer plan begins with."""
    energy = result(run)["found"]["energy"]
    shares = [energy[f"S_{i}"] / energy["T"] for i in range(3)]
    assert shares[1] < shares[2], "choose another seed: the energy is to rise"
    share = (max(shares[0], shares[1]) + shares[2]) / 2
    found = train(tmp_path / "two", teacher, res_students=(*RES, "resnet8"), stop_share=share)["found"]
    assert found["stopped"] == "energy"
    assert found["energy"] == energy == recomputed(tmp_path / "two", teacher)
    assert found["energy"]["S_2"] > share * found["energy"]["T"]
    assert found["reason"] == (
        f"the energy of S_2 on D_v, {energy['S_2']:.4f}, is {100 * shares[2]:.1f} % of the teacher's, "
        f"{energy['T']:.4f}, and the plan ends above {100 * share:g} %"
    )
    longer, shorter = (read_deployed(folder) for folder in (run, tmp_path / "two"))
    assert longer.members == shorter.members
    assert all(torch.equal(v, shorter.tensors[k]) for k, v in longer.tensors.items())


def test_the_energy_must_exceed_the_share(run: Path, teacher: str, tmp_path: Path) -> None:
    """Equal is not enough (algorithm 1): a share that S_1 meets exactly goes on."""
    energy = result(run)["found"]["energy"]
    share = energy["S_1"] / energy["T"]
    if share * energy["T"] < energy["S_1"]:
        share = float(torch.nextafter(torch.tensor(share).double(), torch.tensor(2.0).double()))
    assert share * energy["T"] >= energy["S_1"]
    found = train(tmp_path / "run", teacher, res_students=RES, stop_share=share)["found"]
    assert "S_2" in found["energy"]


def test_a_share_that_s_0_meets_already(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Algorithm 1 trains one res-student at least, and this is said."""
    blunt = saved(tmp_path / "blunt.safetensors", 0.0)
    main(["train", "reskd", "--teacher", blunt, *FLAGS, "--out", str(tmp_path / "run")])
    facts = result(tmp_path / "run")
    energy = facts["found"]["energy"]
    assert energy["T"] == pytest.approx(0.1)
    assert [p["phase"] for p in facts["phases"]] == ["S_0", "R_1"]
    assert facts["found"]["stopped"] == "energy"
    said = " ".join(capsys.readouterr().err.split())
    expected = (
        f"note: the energy of S_0 on D_v, {energy['S_0']:.4f}, is {10 * 100 * energy['S_0']:.1f} % of the "
        "teacher's, 0.1000, and the plan ends above 90 % already; algorithm 1 trains one res-student at "
        "least"
    )
    assert expected in said
    assert f"energy on D_v: S_1 {energy['S_1']:.4f}, T 0.1000" in said
    assert "R_1 epoch 1/" in said
    assert "ResKD ends with 1 res-student: the energy of S_1 on D_v" in said


def test_it_ends_by_budget(teacher: str, tmp_path: Path) -> None:
    small, large = (cost(build(n, 10), (3, 8, 8)).macs for n in ("resnet8", "resnet14"))
    found = train(
        tmp_path / "run", teacher, res_students=("resnet8", "resnet14"), max_macs=2.0 * small, stop_share=None
    )["found"]
    assert found["stopped"] == "budget"
    assert found["reason"] == (
        f"R_2 (resnet14) would bring S_2 to {2 * small + large:,} multiply-accumulates, more than "
        f"--max-macs {2 * small:,}"
    )
    assert list(found["energy"]) == ["T", "S_0", "S_1"]
    assert read_deployed(tmp_path / "run").members == ["resnet8", "resnet8"]


def test_a_budget_for_no_res_student_is_refused(
    teacher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    small = cost(build("resnet8", 10), (3, 8, 8)).macs
    said = refused(capsys, "train", "reskd", "--teacher", teacher, *FLAGS, "--max-macs", str(2 * small - 1))
    assert f"R_1 (resnet8) would bring S_1 to {2 * small:,} multiply-accumulates" in said
    assert f"ResKD trains one res-student at least: give {2 * small:,} or more" in said


def test_all_processes_follow_the_first(teacher: str) -> None:
    """Else two processes whose energies differ by rounding might end at different stages."""
    dataset = arrays(*toy_images(40, 0))
    logits: list[Tensor] = []

    def measured(network: nn.Module, images: Any) -> Tensor:
        logits.append(torch.randn(len(images), CLASSES))
        return logits[-1]

    job = Job(options("baseline", {}), dataset, first=lambda value: value / 2, logits=measured)
    energies = Energies(job, "train", 0.5)
    energies.measure_teacher(nn.Identity())
    energies.add(nn.Identity())
    energies.add(nn.Identity())
    expected = [mean_energy(each) / 2 for each in (logits[0], logits[1], logits[1] + logits[2])]
    assert list(energies.values.items()) == list(zip(("T", "S_0", "S_1"), expected, strict=True))
    assert energies.last == expected[-1]


# ---------------------------------------------------------------- D_v


def test_d_v_is_drawn_from_the_training_images() -> None:
    x, y = toy_images(200, 0)
    dataset = arrays(x, y, val=toy_images(40, 1))
    whole = {(image.numpy().tobytes(), label) for image, label in zip(x, y.tolist(), strict=True)}

    def drawn(share: float, seed: int) -> list[tuple[bytes, int]]:
        split: Any = energy_images(dataset, "train", share, seed)
        return [(i.numpy().tobytes(), label) for i, label in zip(split.x, split.y.tolist(), strict=True)]

    one = drawn(0.25, 3)
    assert len(one) == len(set(one)) == 50
    assert set(one) <= whole
    assert one == drawn(0.25, 3)
    assert one != drawn(0.25, 4)
    assert set(drawn(1.0, 3)) == whole
    counts = torch.zeros(5)
    for seed in range(40):
        counts += torch.bincount(energy_images(dataset, "train", 0.25, seed).y, minlength=5)
    # 400 of each class are expected, 9 % is three standard deviations.
    assert (counts / 400 - 1).abs().max() < 0.12


def test_d_v_may_be_held_out(teacher: str, tmp_path: Path) -> None:
    found = train(tmp_path / "run", teacher, stages=1, energy_split="val")["found"]
    dataset = read_data(options("reskd", {**QUICK, "teacher": (teacher,)}), lambda message: None)
    assert dataset.val is not None
    assert (found["energy_split"], found["energy_images"]) == ("val", len(dataset.val))
    assert energy_images(dataset, "val", 0.1, 0) is dataset.val
    assert found["energy"] == recomputed(tmp_path / "run", teacher)


@pytest.mark.parametrize("method", ["reskd", "ensemble", "trained_together"])
def test_an_empty_d_v_is_refused(
    method: str,
    teacher: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    typed = ["train", method, "--teacher", teacher, *FLAGS]
    said = refused(capsys, *typed, "--energy-split", "val", "--val-fraction", "0")
    assert "D_v is empty: --energy-split val takes the validation split, and digits has none" in said
    assert "give --val-fraction a share above 0, or --energy-split train" in said
    said = refused(capsys, *typed, "--energy-share", "0.003")
    assert "D_v is empty: --energy-share 0.003 of 128 training images is none; give at least 0.0078" in said


# ---------------------------------------------------------------- networks


def test_res_students_may_be_anybodys(teacher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    facts = train(tmp_path / "run", teacher, res_students=("own.py:make", "wrn_16_1"), stop_share=None)
    assert [p["parameters_trained"] for p in facts["phases"]][1] == 1930
    deployed = read_deployed(tmp_path / "run")
    assert deployed.members == ["resnet8", "own.py:make", "wrn_16_1"]
    assert deployed.found["energy"] == recomputed(tmp_path / "run", teacher)
    assert cohobate.load(tmp_path / "run")(torch.randn(2, 3, 8, 8)).shape == (2, 10)


def test_blanks_in_a_list_are_no_part_of_a_name(teacher: str, capsys: pytest.CaptureFixture[str]) -> None:
    typed = ["--res-students", "resnet8, resnet9", "--teacher", teacher]
    assert "unknown model 'resnet9'" in refused(capsys, "train", "reskd", *typed, *FLAGS)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("reskd --res-students resnet8,resnet9", "unknown model 'resnet9'"),
        ("reskd --res-students own.py:eleven", "own.py:eleven predicts 11 classes, the data has 10"),
        ("reskd --res-students own.py:spread", "own.py:spread predicts 1 classes, the data has 10"),
        ("reskd --res-students resnet8 --stages 2", "--stages 2 and 1 res-student in --res-students do not"),
        ("reskd --stages 0", "stages"),
        ("reskd --stop-share 0", "stop_share"),
        ("reskd --max-macs -1", "max_macs"),
        ("reskd --tau 1.5", "tau"),
        ("reskd --stop-share 90", "less than or equal to 1"),
        ("reskd --energy-share 0", "energy_share"),
        ("ensemble --members resnet9", "unknown model 'resnet9'"),
        ("trained_together --members own.py:eleven", "own.py:eleven predicts 11 classes, the data has 10"),
        ("reskd --via dml --peer untrained --loss huber", "huber"),
    ],
)
def test_what_cannot_be_is_refused_before_training(
    typed: str,
    message: str,
    teacher: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    # Not even a teacher is trained.
    by_name = "resnet8" if "resnet9" in typed else teacher
    assert message in refused(capsys, "train", *typed.split(), "--teacher", by_name, *FLAGS)


def test_without_a_teacher_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for method in ("reskd", "ensemble", "trained_together"):
        assert "this method needs a teacher" in refused(capsys, "train", method, *FLAGS)


def test_a_dry_run_lists_all_phases(
    teacher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["train", "reskd", "--teacher", teacher, *FLAGS, "--res-students", "resnet14,resnet8", "--dry-run"])
    printed = capsys.readouterr().out
    assert all(phase in printed for phase in ("S_0", "R_1", "R_2"))
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- the methods of its phases


def stages(method: str, teacher: str, **given: Any) -> tuple[list[Any], Ending]:
    """The methods of all phases on toy images, untrained, and the end of the plan."""
    config = options(method, {"model": "resnet8", "teacher": (teacher,), **given})
    plan = plan_of(method, Job(config, arrays(*toy_images(40, 0), classes=[str(i) for i in range(10)])))
    methods, phase = [], begin(plan, seed=0)
    try:
        while True:
            methods.append(phase.method)
            phase = plan.send({})
    except StopIteration as end:
        return methods, end.value


def test_stages_learn_from_one_teacher_and_all_before_them(teacher: str) -> None:
    methods, ending = stages("reskd", teacher)
    assert [type(m) for m in methods] == [ResKD] * 4
    assert ending.members == ("resnet8",) * 4
    assert ending.found["stopped"] == "stages"
    assert ending.found["energy"] == {}
    assert len({id(m.teacher) for m in methods}) == 1
    for number, method in enumerate(methods):
        assert len(method.earlier) == number
        assert all(isinstance(each, Frozen) for each in method.earlier)
        for one, two in zip(method.earlier, methods[-1].earlier, strict=False):
            assert one is two
    # Fresh weights in each stage.
    weights = [m.network.fc.weight for m in methods]
    assert all(not torch.equal(weights[0], other) for other in weights[1:])
    assert torch.equal(methods[1].earlier[0].network.fc.weight, weights[0])


@pytest.mark.parametrize(
    ("given", "kind", "facts"),
    [
        ({}, L2, {"of": "logits", "reduction": "mean", "weight": 0.9}),
        (
            {"loss": "probabilities", "tau": 0.4},
            L2,
            {"of": "probabilities", "reduction": "sum", "weight": 0.4},
        ),
        ({"loss": "kl", "temperature": 2.0}, KD, {"temperature": 2.0, "weight": 0.9}),
        ({"via": "dml", "reduction": "sum"}, L2, {"of": "logits", "reduction": "sum", "weight": 0.5}),
        ({"via": "dml", "tau": 0.8}, L2, {"of": "logits", "reduction": "mean", "weight": 0.8}),
    ],
)
def test_the_loss_of_eq_3(given: Mapping[str, Any], kind: type, facts: dict[str, Any], teacher: str) -> None:
    methods, _ = stages("reskd", teacher, stages=1, **given)
    # As much from labels as from each other where the teacher learns, too, as in DML.
    tau = given.get("tau", 0.5 if given.get("via") == "dml" else 0.9)
    for method in methods:
        assert type(method.term) is kind
        assert {name: getattr(method.term, name) for name in facts} == facts
        assert method.term.weight == tau
        assert method.ce_weight == pytest.approx(1 - tau)
        assert (method.compare, method.ce_of) == ("sum", "sum")


def test_via_rkd(teacher: str) -> None:
    (first, second), _ = stages("reskd", teacher, stages=1, via="rkd", distance_weight=2.0, angle_weight=3.0)
    for method in (first, second):
        assert type(method) is ResKD
        assert type(method.term) is OfLogits
        assert (method.term.term.distance_weight, method.term.term.angle_weight) == (2.0, 3.0)
        assert (method.ce_weight, method.compare) == (1.0, "residual")
    (_, second), _ = stages("reskd", teacher, stages=1, via="rkd", compare="sum", rkd_of="features")
    assert type(second.term) is RKD
    assert second.compare == "sum"


def test_via_dml(teacher: str) -> None:
    methods, ending = stages("reskd", teacher, stages=2, via="dml")
    assert [type(m) for m in methods] == [MutualResKD] * 3
    assert ending.members == ("resnet8",) * 3
    weights = load_file(teacher.partition("=")[2])
    for method in methods:
        assert all(p.requires_grad for p in method.peer.parameters())
        assert all(torch.equal(v, weights[k]) for k, v in method.peer.state_dict().items())
    assert len({id(method.peer) for method in methods}) == 3
    methods, _ = stages("reskd", teacher, stages=1, via="dml", peer="untrained")
    fresh = [method.peer.get_parameter("fc.weight") for method in methods]
    assert not torch.equal(*fresh)
    assert not any(torch.equal(each, weights["fc.weight"]) for each in fresh)


@pytest.mark.parametrize(("members", "expected"), [((), ("resnet8",)), (RES, RES)])
def test_the_ensemble(members: tuple[str, ...], expected: tuple[str, ...], teacher: str) -> None:
    for learn, inner in (("kd", ResKD), ("labels", Supervised)):
        methods, ending = stages("ensemble", teacher, members=members, learn=learn)
        assert [type(m) for m in methods] == [EnsembleMember] * (1 + len(expected))
        assert [type(m.method) for m in methods] == [inner] * (1 + len(expected))
        assert [len(m.earlier) for m in methods] == list(range(1 + len(expected)))
        # None of them learns what the others lack.
        assert not any(len(getattr(m.method, "earlier", ())) for m in methods)
        assert ending.members == ("resnet8", *expected)


@pytest.mark.parametrize(("members", "expected"), [((), ("resnet8",)), (RES, RES)])
def test_trained_together(members: tuple[str, ...], expected: tuple[str, ...], teacher: str) -> None:
    for learn, kind in (("kd", ResKD), ("labels", Supervised)):
        (method,), ending = stages("trained_together", teacher, members=members, learn=learn)
        assert type(method) is kind
        assert isinstance(method.network, Sum)
        assert all(p.requires_grad for p in method.network.parameters())
        sizes = [sum(p.numel() for p in n.parameters()) for n in method.network.networks]
        assert sizes == [parameters(name) for name in ("resnet8", *expected)]
        assert ending.members == ("resnet8", *expected)


# ---------------------------------------------------------------- baselines, and runs as teachers


@pytest.mark.parametrize("method", ["ensemble", "trained_together"])
def test_labels_alone_need_no_teacher(
    method: str, teacher: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without = train(tmp_path / "without", None, method, learn="labels")
    main(
        ["train", method, "--learn", "labels", *FLAGS, "--teacher", teacher, "--out", str(tmp_path / "with")]
    )
    said = " ".join(capsys.readouterr().err.split())
    assert "note: the networks learn from the labels alone; the teacher is not used" in said
    one, two = (read_deployed(tmp_path / name) for name in ("with", "without"))
    assert all(torch.equal(tensor, two.tensors[key]) for key, tensor in one.tensors.items())
    assert one.members == ["resnet8", "resnet8"]
    found = without["found"]
    assert list(found) == ["energy", "energy_images", "energy_split", "threshold"]
    assert list(found["energy"]) == ["S_0", "S_1"]
    assert found["threshold"] == found["energy"]["S_1"]
    whole = rebuilt(one)
    dataset = read_data(options("reskd", {**QUICK, "teacher": (teacher,)}), lambda message: None)
    images = energy_images(dataset, "train", 0.1, 0)
    logits = [all_logits(n, images, dataset, torch.device("cpu"), 0) for n in whole.networks]  # type: ignore[union-attr]
    assert list(found["energy"].values()) == [mean_energy(each) for each in running_sums(logits)]


def test_the_sum_of_a_run_is_a_teacher(run: Path, tmp_path: Path) -> None:
    facts = train(tmp_path / "kd", str(run), "kd")
    assert facts["phases"][0]["parameters_trained"] == parameters("resnet8")
    config = options("slkd", {**QUICK, "teacher": (str(run),)})
    dataset = read_data(config, lambda message: None)
    job = Job(config, dataset)
    taught = job.teacher()
    x = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(taught(x).logits, cohobate.load(run)(x))
    # SL-teachers are fresh networks of the teacher's architecture: such sums.
    method = made_for("slkd", job)
    (fusion,) = (m for m in method.modules() if isinstance(m, Fusion))
    for copy in fusion.networks:
        assert isinstance(copy, Sum)
        assert copy.state_dict().keys() == read_deployed(run).tensors.keys()
        assert not torch.equal(
            copy.get_parameter("networks.1.fc.weight"), taught.network.get_parameter("networks.1.fc.weight")
        )


# ---------------------------------------------------------------- other commands


def test_none_is_a_value_of_a_sweep_and_of_a_comparison() -> None:
    assert check_values("reskd", "stop_share", ["0.5", "none"]) == [0.5, None]
    shared = options("baseline", {})
    for spec, share in (("stop_share=none", None), ("stop_share=0.5", 0.5), ("stages=1", 0.9)):
        method, config = configure(f"reskd:{spec}", shared)
        assert method == "reskd"
        assert config.stop_share == share  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"stop_share: .*'never'"):
        configure("reskd:stop_share=never", shared)
