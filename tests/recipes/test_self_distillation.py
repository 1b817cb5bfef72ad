"""Networks that teach themselves, by name: what is built, what reaches it, what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from by_name import made_for
from torch import Tensor, nn
from zoo import CLASSES, SIZE, batch, toy_images

from cohobate import cli
from cohobate.core import Batch, Method
from cohobate.data.arrays import arrays
from cohobate.methods.at import AT
from cohobate.methods.byot import BETA as HINT
from cohobate.methods.byot import BYOT
from cohobate.methods.cs_kd import CSKD
from cohobate.methods.ddgsd import DDGSD
from cohobate.methods.fitnet import Hints
from cohobate.methods.frskd import FRSKD, AttentionNorm
from cohobate.methods.frskd_sla import FRSKDSLA
from cohobate.methods.ofd import OFD, margin
from cohobate.methods.sad import SAD
from cohobate.methods.sla import SLASD
from cohobate.models.build import build
from cohobate.models.dense.self_teacher import SelfTeacher
from cohobate.models.surgery.probe import look
from cohobate.recipes.catalogue import METHODS
from cohobate.recipes.job import Job
from cohobate.recipes.networks import load
from cohobate.recipes.options import options, own_options

FAMILY = ("frskd", "byot", "ddgsd", "sad", "cs_kd", "sla_sd")

NETWORKS = """
from torch import nn
from cohobate import Output, adapt
from zoo import HandWritten

SHAPE = (3, 8, 8)

class Flat(nn.Module):
    "Logits alone."
    def __init__(self, classes):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, classes)
    def forward(self, x):
        return self.fc(self.conv(x).mean(dim=(2, 3)))

class Staged(Flat):
    "Stages, but not what the classifier sees."
    def __init__(self, classes):
        super().__init__(classes)
        self.next = nn.Conv2d(4, 4, 3)
    def forward(self, x):
        one = self.conv(x).relu()
        two = self.next(one).relu()
        return Output(self.fc(two.mean(dim=(2, 3))), None, (one, two))

def make(classes):
    return HandWritten()

def one_stage(classes):
    return adapt(HandWritten(), stages=["layer2"], shape=SHAPE)

def flat(classes):
    return Flat(classes)

def unpooled(classes):
    return Staged(classes)
"""


@pytest.fixture
def own(tmp_path: Path) -> str:
    """A file of networks that know nothing of the library, or hide something from it."""
    path = tmp_path / "own.py"
    path.write_text(NETWORKS)
    return str(path)


def made(method: str, **given: Any) -> Any:
    """The method of a run on toy images of 8x8 pixels."""
    config = options(method, {"model": "resnet8", **given})
    return made_for(method, Job(config, arrays(*toy_images(40, 0))))


def losses(method: Method, progress: float = 0.5) -> dict[str, Tensor]:
    given: Batch = batch(8)._replace(progress=torch.tensor(progress))
    return method(given)


def widths(method: FRSKD) -> list[int]:
    assert isinstance(method.self_teacher, SelfTeacher)
    network = look(method.network, (3, SIZE, SIZE)).output
    refined = method.self_teacher(network.stages).stages
    return [stage.shape[1] for stage in refined]


def size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# ---------------------------------------------------------------- frskd


def test_the_whole_family_is_in_the_catalogue() -> None:
    assert METHODS.keys() >= set(FAMILY)


def test_frskd_as_the_paper_sets_it() -> None:
    """Sections 4.1 and 6 for CIFAR-100: BiFPNc of width 2, alpha 2, beta 100, K = 4, no warm-up."""
    method = made("frskd")
    assert isinstance(method, FRSKD)
    assert (method.alpha, method.temperature, method.soft_labels) == (2.0, 4.0, "code")
    assert (method.start, method.ramp) == (0.0, 0.0)
    assert isinstance(method.feature, AT)
    assert method.feature.weight == 100.0
    assert widths(method) == [32, 64, 128]
    assert list(losses(method)) == ["ce", "ce_self_teacher", "kd", "feature"]


@pytest.mark.parametrize(
    ("features", "kind", "beta"),
    [("at", AT, 100.0), ("at_norm", AttentionNorm, 0.1), ("fitnet", Hints, 100.0), ("overhaul", OFD, 0.001)],
)
@pytest.mark.parametrize("levels", [None, 2])
def test_what_is_compared_and_its_weight(
    features: str, kind: type[nn.Module], beta: float, levels: int | None
) -> None:
    """Table 5; each has a beta of its own, and a given one wins."""
    torch.manual_seed(0)
    method = made("frskd", features=features, levels=levels)
    assert type(method.feature) is kind
    assert method.feature.weight == beta
    term = losses(method)["feature"]
    assert term > 0
    doubled = made("frskd", features=features, levels=levels, beta=2 * beta)
    torch.testing.assert_close(losses(doubled)["feature"], 2 * term)


def test_frskd_without_features() -> None:
    for given in ({"features": "none"}, {"features": "none", "beta": 100.0}):
        method = made("frskd", **given)
        assert method.feature is None
        assert list(losses(method)) == ["ce", "ce_self_teacher", "kd"]


def test_no_weight_is_no_weight() -> None:
    """A beta of 0 is not one that was left out."""
    found = losses(made("frskd", beta=0.0, alpha=0.0))
    assert found["feature"] == 0
    assert found["kd"] == 0


def test_the_margins_of_overhaul_are_those_of_the_self_teachers_norms() -> None:
    """They begin with bias 0 and weight 1: the mean of a negative normal variable."""
    method = made("frskd", features="overhaul")
    assert isinstance(method.feature, OFD)
    for transform, width in zip(method.feature.margins, (32, 64, 128), strict=True):
        expected = margin(torch.ones(width), torch.zeros(width))
        torch.testing.assert_close(transform.margins, expected)
        torch.testing.assert_close(expected, torch.full((width,), -((2 / torch.pi) ** 0.5)))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"pyramid": "bifpn", "width": 1.0}, [128, 128, 128]),
        ({"pyramid": "bifpn", "width": 2.0}, [256, 256, 256]),
        ({"width": 1.0}, [32, 64, 128]),
        ({"width": 2.0}, [64, 128, 256]),
        ({"levels": 2}, [128, 256]),
        ({"levels": 2, "pyramid": "bifpn", "width": 0.5}, [64, 64]),
    ],
)
def test_the_pyramids_of_table_6(given: dict[str, Any], expected: list[int]) -> None:
    """Channels of the deepest level, 128 or 256, on WRN-16-2; and fewer levels."""
    assert widths(made("frskd", model="wrn_16_2:order=frskd", **given)) == expected


def test_depth_and_upsampling() -> None:
    shallow, deep = made("frskd", depth=1), made("frskd", depth=3)
    assert [len(m.self_teacher.pyramid.top_down[0].convs) for m in (shallow, deep)] == [3, 11]
    assert made("frskd").self_teacher.pyramid.upsampling == "bilinear"
    assert made("frskd", upsampling="nearest").self_teacher.pyramid.upsampling == "nearest"


def test_warm_up_and_rise() -> None:
    """The segmentation schedule: nothing for 40 of 60 epochs, then exp(-5 (1 - t)^2)."""
    method = made("frskd", start=40 / 60, ramp=20 / 60, soft_labels="paper", temperature=2.0).eval()
    assert (method.soft_labels, method.temperature) == ("paper", 2.0)
    with torch.no_grad():
        found = [losses(method, epoch / 60) for epoch in (39, 50, 60)]
    for term in ("kd", "feature"):
        before, half, end = (float(terms[term]) for terms in found)
        assert before == 0
        assert half == pytest.approx(end * 2.718281828 ** (-5 * 0.25), rel=1e-4)
    assert found[0]["ce_self_teacher"] == found[2]["ce_self_teacher"]


def test_frskd_with_sla() -> None:
    method = made("frskd", sla=True, sla_weight=0.5, alpha=3.0)
    assert isinstance(method, FRSKDSLA)
    assert (method.sla_weight, method.frskd.alpha) == (0.5, 3.0)
    assert list(method.predictors()) == ["network", "self_teacher", "aggregated"]
    assert list(losses(method)) == ["ce", "ce_self_teacher", "ce_joint", "kl", "kd", "feature"]
    # 4 turns of 5 classes, from what each classifier sees.
    assert method.joint.weight.shape == (4 * CLASSES, 64)
    assert method.teacher_joint.weight.shape == (4 * CLASSES, 128)


# ---------------------------------------------------------------- the others


def test_the_others_defaults() -> None:
    byot, ddgsd, sad, cs_kd, sla_sd = (made(name) for name in FAMILY[1:])
    assert isinstance(byot, BYOT)
    assert (byot.alpha, byot.beta, byot.temperature, byot.ce_weight) == (0.3, HINT, 3.0, 0.7)
    assert list(byot.predictors()) == ["network", "exit_1", "exit_2", "ensemble"]
    assert isinstance(ddgsd, DDGSD)
    assert (ddgsd.weight, ddgsd.temperature, ddgsd.mmd_weight) == (1.0, 3.0, 5e-4)
    assert isinstance(sad, SAD)
    assert (sad.weight, sad.start, sad.pool) == (1000.0, 40 / 60, "mean")
    assert isinstance(cs_kd, CSKD)
    assert (cs_kd.weight, cs_kd.temperature, cs_kd.statistics) == (1.0, 4.0, "both")
    assert isinstance(sla_sd, SLASD)
    assert (sla_sd.weight, sla_sd.temperature, sla_sd.beta, sla_sd.joint_weight) == (1.0, 1.0, 1.0, 1.0)


OTHERS: dict[str, dict[str, Any]] = {
    "byot": {
        "alpha": 0.1,
        "beta": 0.05,
        "temperature": 4.0,
        "scaled": True,
        "hint_at": "linear",
        "hint": "norm",
        "ce_weight": 0.8,
        "deepest_weight": 0.9,
    },
    "ddgsd": {
        "weight": 0.2,
        "temperature": 2.0,
        "mmd_weight": 1e-4,
        "ce_weight": 0.5,
        "detach": False,
        "average": "all",
    },
    "sad": {"weight": 0.1, "start": 0.25, "pool": "sum", "skip": 1},
    "cs_kd": {"weight": 3.0, "temperature": 2.0, "statistics": "first"},
    "sla_sd": {"weight": 0.5, "temperature": 2.0, "beta": 0.3, "joint_weight": 4.0},
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_others_options_reach_them(name: str) -> None:
    given = OTHERS[name]
    method = made(name, **given)
    assert {key: getattr(method, key) for key in given} == given
    if name != "byot":
        assert given.keys() == set(own_options(name)), "an option of the recipe is left out here"


def test_byots_exits_are_as_asked_for() -> None:
    dense = made("byot")
    own = made("byot", bottleneck="separable", attention=True, unhinted=(2,), hint_at="linear")
    assert own_options("byot") == [
        *("bottleneck", "attention", "alpha", "beta", "temperature", "scaled", "hint_at", "hint"),
        *("unhinted", "ce_weight", "deepest_weight"),
    ]
    assert own.hinted == [0]
    assert dense.hinted == [0, 1]
    assert [isinstance(method.exits[0].attention, nn.Identity) for method in (dense, own)] == [True, False]

    def depth_wise(method: Any) -> bool:
        convolutions = (m for m in method.exits[0].bottleneck.modules() if isinstance(m, nn.Conv2d))
        return any(m.groups > 1 for m in convolutions)

    assert [depth_wise(dense), depth_wise(own)] == [False, True]


# ---------------------------------------------------------------- networks


@pytest.mark.parametrize("name", [*FAMILY, "frskd + sla"])
def test_the_deployed_network_is_the_plain_one(name: str) -> None:
    method = made("frskd", sla=True) if name == "frskd + sla" else made(name)
    deployed, plain = next(iter(method.predictors().values())), made("baseline").network
    shapes = [{k: v.shape for k, v in n.state_dict().items()} for n in (deployed, plain)]
    assert shapes[0] == shapes[1]
    assert size(deployed) == size(plain)


@pytest.mark.parametrize(("name", "given"), [("frskd", {}), ("frskd", {"sla": True}), ("byot", {})])
def test_a_network_written_by_hand(name: str, given: dict[str, Any], own: str) -> None:
    method = made(name, model=f"{own}:make", **given).train()
    sum(losses(method).values()).backward()  # type: ignore[union-attr]
    learning = [p for p in method.parameters() if p.requires_grad]
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in learning)
    deployed = next(iter(method.predictors().values()))
    plain = made("baseline", model=f"{own}:make").network
    assert deployed.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.parametrize(
    ("method", "given", "network", "said"),
    [
        ("frskd", {"levels": 4}, "", "refines 4 stages, the network shows 3; name its modules"),
        ("frskd", {"levels": 1}, "", "levels: Input should be greater than or equal to 2"),
        ("frskd", {}, "one_stage", "refines 2 or more stages, the network shows 1; name its modules"),
        ("frskd", {}, "flat", "refines 2 or more stages, the network shows 1; name its modules"),
        ("frskd", {"start": 0.7, "ramp": 0.5}, "", "got 0.7 and 0.5; give ramp 0.3 or less"),
        ("frskd", {"width": 0}, "", "width: Input should be greater than 0"),
        ("frskd", {"features": "att"}, "", "features: Input should be 'at', 'at_norm', 'fitnet'"),
        ("frskd", {"sla": True}, "unpooled", "SLA's joint classifier reads the features before"),
        ("frskd", {"teacher": ("resnet20",)}, "", "frskd takes no teacher"),
        ("byot", {}, "one_stage", "BYOT needs a network of two stages or more, this one gives 1"),
        ("byot", {"unhinted": (3,)}, "", "unhinted names exits from 1 to 2, got"),
        (
            "ddgsd",
            {},
            "unpooled",
            "DDGSD compares the features before the classifier, .*mmd_weight to 0",
        ),
        ("sla_sd", {}, "unpooled", "SLA's joint classifier reads the features before the classifier"),
        ("sad", {}, "one_stage", "SAD needs two stages or more, got 1"),
        ("sad", {"skip": 2}, "", "SAD needs two stages or more, got 3, of which 2 are skipped"),
    ],
)
def test_refusals(method: str, given: dict[str, Any], network: str, said: str, own: str) -> None:
    model = {"model": f"{own}:{network}"} if network else {}
    with pytest.raises(ValueError, match=said):
        made(method, **model, **given)


def test_what_needs_no_features_does_without(own: str) -> None:
    """The network whose features are hidden serves DDGSD without MMD, CS-KD, and FRSKD."""
    hidden = f"{own}:unpooled"
    assert list(losses(made("ddgsd", model=hidden, mmd_weight=0.0))) == ["ce", "kl"]
    assert list(losses(made("cs_kd", model=hidden))) == ["ce", "kl"]
    assert widths(made("frskd", model=hidden)) == [8, 8]


def test_overhaul_on_a_network_from_elsewhere(own: str) -> None:
    """What its stages were before their last ReLU is found; a network that returns an Output must say it."""
    method = made("frskd", features="overhaul", model=f"{own}:make")
    assert losses(method)["feature"] > 0
    with pytest.raises(ValueError, match="overhaul compares stages before their last ReLU, which"):
        made("frskd", features="overhaul", model=f"{own}:unpooled")


# ---------------------------------------------------------------- as a person runs it


QUICK = (
    "--data",
    "digits",
    "--device",
    "cpu",
    "--train-images",
    "100",
    "--batch-size",
    "50",
    "--epochs",
    "1",
)


@pytest.mark.parametrize(
    ("method", "readouts"),
    [
        (("frskd", "--sla"), ["network", "self_teacher", "aggregated"]),
        (("byot", "--autoaugment", "cifar", "--cutout", "4"), ["network", "exit_1", "exit_2", "ensemble"]),
        (("frskd", "--mixing", "cutmix"), ["network", "self_teacher"]),
    ],
    ids=["sla", "byot", "cutmix"],
)
def test_a_run_measures_every_read_out(method: tuple[str, ...], readouts: list[str], tmp_path: Path) -> None:
    cli.main(("train", *method, *QUICK, "--quiet", "--out", str(tmp_path / "run")))
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert list(result["last"]["test"]) == readouts
    assert result["predictor"] == "network"
    assert result["parameters_trained"] > result["parameters_deployed"]
    assert size(load(tmp_path / "run")) == result["parameters_deployed"]


@pytest.mark.parametrize("method", ["ddgsd", "cs_kd", "sad", "sla_sd"])
def test_the_others_train(method: str, tmp_path: Path) -> None:
    """Those with a second view are given one, mixed like the first."""
    mixed = ("--mixing", "mixup", "--mixing-alpha", "0.3")
    cli.main(("train", method, *QUICK, *mixed, "--quiet", "--out", str(tmp_path / "run")))
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["parameters_deployed"] == size(load(tmp_path / "run")) == size(build("resnet8", 10))


@pytest.mark.parametrize(
    ("option", "texts", "marked"), [("beta", "none,50,500", "none"), ("alpha", "1,2", "2")]
)
def test_the_sensitivity_of_figure_4_is_swept_and_drawn(
    option: str,
    texts: str,
    marked: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Beta is an option that is none unless given."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "150")
    cli.main(("sweep", "frskd", f"--{option}", texts, *QUICK, "--quiet", "--out", "s"))
    assert "best on val" in capsys.readouterr().out
    given = [None if text == "none" else float(text) for text in texts.split(",")]
    runs = [yaml.safe_load(path.read_text())[option] for path in Path("s").rglob("run.yaml")]
    assert sorted(map(str, runs)) == sorted(map(str, given))
    lines = list(csv.DictReader(Path("s/sweep.csv").read_text().splitlines()))
    errors = {line["value"]: float(line["test_error"]) for line in lines}
    assert list(errors) == texts.split(",")
    assert all(0 <= error <= 100 for error in errors.values())
    assert json.loads(Path("s/sweep.json").read_text())["marked"] == [marked, "default"]
    assert all(f">{text}<" in Path("s/sweep.svg").read_text() for text in texts.split(","))
