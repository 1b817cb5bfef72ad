"""The feature maps of the public benchmark: ``--taps benchmark``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

import cohobate
from cohobate.core import Batch, Frozen, Output
from cohobate.methods.at import at_loss
from cohobate.methods.fitnet import FitNet, Regressor, SizedRegressor
from cohobate.models.build import build
from cohobate.models.surgery.normalised import Renormalised
from cohobate.models.surgery.probe import look, noise
from cohobate.models.taps import read_taps
from cohobate.papers.setups import setups
from cohobate.recipes.job import Job
from cohobate.recipes.options import options, own_options
from cohobate.recipes.recipe import find
from cohobate.recipes.terms import make_terms

SHAPE = (3, 32, 32)
PUBLISHED = [setup.options for name, setup in setups().items() if name.startswith("slkd/")]
PAIRS = [(options["teacher"][0], options["model"]) for options in PUBLISHED]

# Channels and side of the benchmark's feature maps, the stem's left out.
SEEN = {
    "resnet8": ((16, 32), (32, 16), (64, 8)),
    "resnet56": ((16, 32), (32, 16), (64, 8)),
    "resnet8x4": ((64, 32), (128, 16), (256, 8)),
    "resnet32x4": ((64, 32), (128, 16), (256, 8)),
    "wrn_16_2": ((32, 32), (64, 16), (128, 8)),
    "wrn_40_1": ((16, 32), (32, 16), (64, 8)),
    "wrn_40_2": ((32, 32), (64, 16), (128, 8)),
    "vgg8": ((128, 16), (256, 8), (512, 4), (512, 4)),
    "vgg11": ((128, 16), (256, 8), (512, 4), (512, 4)),
    "vgg13": ((128, 16), (256, 8), (512, 4), (512, 4)),
    "shufflenet_v1": ((240, 16), (480, 8), (960, 4)),
    "shufflenet_v2": ((116, 16), (232, 8), (464, 4)),
    "resnet50_cifar": ((256, 32), (512, 16), (1024, 8), (2048, 4)),
    "mobilenet_v2": ((12, 16), (16, 8), (48, 4), (160, 2)),
}


def outputs(name: str) -> tuple[Output, Output]:
    """Of one network, in our reading and in the benchmark's."""
    torch.manual_seed(0)
    network = build(name, 10)
    ours = look(network, SHAPE).output
    assert read_taps(network, "benchmark")
    theirs = look(network, SHAPE).output
    read_taps(network, "stages")
    assert all(
        torch.equal(a, b) for a, b in zip(look(network, SHAPE).output.stages, ours.stages, strict=True)
    )
    return ours, theirs


def same(one: tuple[Tensor, ...], two: tuple[Tensor, ...]) -> bool:
    return len(one) == len(two) and all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_the_networks_are_those_of_the_tables() -> None:
    assert set(SEEN) == {name for pair in PAIRS for name in pair}
    assert len(PAIRS) == 11


@pytest.mark.parametrize("name", SEEN)
def test_what_the_benchmark_reads(name: str) -> None:
    ours, theirs = outputs(name)
    assert tuple((s.shape[1], s.shape[2]) for s in theirs.stages) == SEEN[name]
    assert torch.equal(ours.logits, theirs.logits)
    assert ours.preacts is not None
    assert theirs.preacts is not None
    first = 1 if name.startswith("vgg") else 0
    assert same(theirs.preacts, ours.preacts[first:])
    assert same(theirs.stages, ours.stages[first:]) == (not name.startswith("wrn"))


@pytest.mark.parametrize("name", ["wrn_16_2", "wrn_16_1:order=frskd"])
def test_raw_sums(name: str) -> None:
    """A wide ResNet's stage is what its last block adds up; the next batch norm makes it the preact."""
    torch.manual_seed(0)
    network = build(name, 10)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 2)
            nn.init.uniform_(norm.bias, -1, 1)
    read_taps(network, "benchmark")
    seen = look(network, SHAPE)
    last = [f"stages.{i}.{len(stage) - 1}" for i, stage in enumerate(network.stages)]  # type: ignore[arg-type]
    sums = [seen.of(path)[0].output for path in last]
    assert same(seen.output.stages, tuple(sums))
    norms = [*(network.get_submodule(f"stages.{i}.0.bn1") for i in (1, 2)), network.get_submodule("bn")]
    assert seen.output.preacts is not None
    for norm, raw, preact in zip(norms, sums, seen.output.preacts, strict=True):
        torch.testing.assert_close(norm.eval()(raw), preact)


def test_raw_sums_of_known_weights() -> None:
    """Blocks whose branch is zero: the first stage is the stem's map, the second its ReLU, subsampled."""
    network = build("wrn_16_1", 10).eval()
    read_taps(network, "benchmark")
    for name, parameter in network.named_parameters():
        if name.endswith(("conv2.weight", "shortcut.weight")) or name == "conv.weight":
            nn.init.zeros_(parameter)
    with torch.no_grad():
        for channel in range(3):
            network.get_parameter("conv.weight")[channel, channel, 1, 1] = 1.0
        for stage in (1, 2):
            shortcut = network.get_parameter(f"stages.{stage}.0.shortcut.weight")
            shortcut[:3, :3, 0, 0] = torch.eye(3)
        x = noise(network, SHAPE)
        stages = network(x).stages
    scale = (1 + 1e-5) ** -0.5
    torch.testing.assert_close(stages[0][:, :3], x)
    torch.testing.assert_close(stages[1][:, :3], x.relu()[:, :, ::2, ::2] * scale)
    torch.testing.assert_close(stages[2][:, :3], x.relu()[:, :, ::4, ::4] * scale**2)
    assert all(stage[:, 3:].abs().max() == 0 for stage in stages)


# ---------------------------------------------------------------- terms


def data(images: int = 4) -> Any:
    x = torch.zeros(images, 32, 32, 3, dtype=torch.uint8)
    return cohobate.arrays(x, torch.arange(images) % 10, classes=[str(i) for i in range(10)])


def made(teacher: str, student: str, name: str, taps: Any) -> tuple[nn.Module, nn.Module, Any]:
    torch.manual_seed(0)
    networks = build(teacher, 10), build(student, 10)
    (term,) = make_terms(name, networks[1], networks[0], data(), taps=taps).values()
    return *networks, term


def batch() -> Batch:
    x = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    return Batch((x,), torch.arange(2), torch.arange(2), torch.tensor(0.5))


@pytest.mark.parametrize("name", ["at", "sp", "overhaul", "reviewkd", "fitnet"])
@pytest.mark.parametrize(("teacher", "student"), PAIRS, ids=[" -> ".join(pair) for pair in PAIRS])
def test_the_terms_step_on_every_pair(teacher: str, student: str, name: str) -> None:
    """In the benchmark's reading; tests/methods/test_pairs.py has the other."""
    network, learner, term = made(teacher, student, name, "benchmark")
    assert all(getattr(each, "taps", "benchmark") == "benchmark" for each in (network, learner))
    given = batch()
    loss = term(learner(given.x), Frozen(network)(given.x), given)
    assert loss > 0
    assert torch.isfinite(loss)
    loss.backward()
    assert any(p.grad is not None and p.grad.any() for p in learner.parameters())
    assert all(p.grad is not None and p.grad.any() for p in term.parameters())


def test_at_of_a_vgg_leaves_the_first_stage_out() -> None:
    teacher, student, term = made("vgg11", "vgg8", "at", "benchmark")
    given = batch()
    for each in (teacher, student):
        read_taps(each, "stages")
    whole = student.eval()(given.x).stages, teacher.eval()(given.x).stages
    losses = [at_loss(s, t) for s, t in zip(*whole, strict=True)]
    for each in (teacher, student):
        read_taps(each, "benchmark")
    found = term(student(given.x), teacher(given.x), given)
    torch.testing.assert_close(found, torch.stack(losses[1:]).sum())


REGRESSORS = {
    ("wrn_40_2", "wrn_16_2"): (nn.Conv2d, (1, 1), (1, 1), 16),
    ("wrn_40_2", "shufflenet_v1"): (nn.ConvTranspose2d, (4, 4), (2, 2), 16),
    ("resnet50_cifar", "mobilenet_v2"): (nn.ConvTranspose2d, (4, 4), (2, 2), 16),
    ("vgg13", "mobilenet_v2"): (nn.Conv2d, (1, 1), (1, 1), 8),
    ("shufflenet_v1", "resnet8"): (nn.Conv2d, (3, 3), (2, 2), 8),
}


@pytest.mark.parametrize(("pair", "expected"), REGRESSORS.items(), ids=[" -> ".join(p) for p in REGRESSORS])
def test_fitnets_hint(pair: tuple[str, str], expected: tuple[Any, ...]) -> None:
    """The second stage of each network, counted from the shallowest, through the benchmark's regressor."""
    teacher, student, term = made(*pair, "fitnet", "benchmark")
    kind, kernel, stride, side = expected
    assert isinstance(term, FitNet)
    assert isinstance(term.regressor, SizedRegressor)
    assert type(term.regressor.conv) is kind
    assert (term.regressor.conv.kernel_size, term.regressor.conv.stride) == (kernel, stride)
    given = batch()
    with torch.no_grad():
        ours, theirs = student(given.x), teacher.eval()(given.x)
        hint = theirs.stages[1]
        assert hint.shape[2] == side
        found = term(ours, theirs, given)
        torch.testing.assert_close(found, F.mse_loss(term.regressor(ours.stages[1]), hint))


def test_the_regressors_sizes() -> None:
    x = torch.rand(2, 4, 7, 9)
    assert SizedRegressor(4, 6, (7, 9), (5, 9))(x).shape == (2, 6, 5, 9)
    assert SizedRegressor(4, 6, (7, 9), (14, 18))(x).shape == (2, 6, 14, 18)
    with pytest.raises(ValueError, match=r"stage of \(7, 9\) to the hint's \(8, 9\), .*--taps stages"):
        SizedRegressor(4, 6, (7, 9), (8, 9))


def test_the_default_is_ours() -> None:
    teacher, student, term = made("wrn_16_2", "wrn_16_1", "fitnet", "stages")
    assert isinstance(term.regressor, Regressor)
    assert (teacher.taps, student.taps) == ("stages", "stages")


def test_inside_another_module() -> None:
    network = build("wrn_16_1", 10)
    ours = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    assert read_taps(Renormalised(network, ours, ours), "benchmark")
    assert network.taps == "benchmark"
    assert not read_taps(nn.Conv2d(3, 3, 1), "benchmark")


# ---------------------------------------------------------------- the command line


def first_method(name: str, said: list[str], **given: Any) -> Any:
    """The method of the first phase that a command line with these options trains."""
    config = options(name, {"device": "cpu", **given})
    work = Job(config, data(), said.append)
    return next(find(name).plan(work, {key: getattr(config, key) for key in own_options(name)})).method


@pytest.mark.parametrize("name", ["at", "kd+fitnet", "fitnet_stages"])
def test_the_option(name: str, tmp_path: Path) -> None:
    """Student and teacher are read alike, and the term is made for what they then return."""
    torch.manual_seed(0)
    weights = tmp_path / "teacher.safetensors"
    save_file(build("wrn_16_1", 10).state_dict(), weights)
    said: list[str] = []
    given = {"teacher": f"wrn_16_1:weights={weights}", "model": "wrn_16_1"}
    for taps in ({}, {"taps": "stages"}, {"taps": "benchmark"}):
        method = first_method(name, said, **given, **taps)
        expected = taps.get("taps", "stages")
        assert (method.student.taps, method.teacher.network.taps) == (expected, expected)
        hints = [module for module in method.modules() if isinstance(module, FitNet)]
        assert all(isinstance(hint.regressor, SizedRegressor) == (expected == "benchmark") for hint in hints)
    assert not any("--taps" in line for line in said)


def test_a_network_from_elsewhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\n\n"
        "def net(classes):\n"
        "    return nn.Sequential(\n"
        "        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU(),\n"
        "        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes),\n"
        "    )\n"
    )
    torch.manual_seed(0)
    weights = tmp_path / "teacher.safetensors"
    save_file(build("wrn_16_1", 10).state_dict(), weights)
    said: list[str] = []
    given = {"teacher": f"wrn_16_1:weights={weights}", "model": f"{tmp_path / 'net.py'}:net"}
    first_method("at", said, **given, taps="benchmark")
    assert [line for line in said if "--taps" in line] == [
        "note: the student is no built-in network; --taps does not change its stages"
    ]


def test_it_is_part_of_a_runs_identity() -> None:
    from cohobate.config.groups import Bookkeeping, Teacher

    assert "taps" in Teacher.model_fields
    assert "taps" not in Bookkeeping.model_fields
    with pytest.raises(ValueError, match="baseline takes no teacher; leave --taps out"):
        options("baseline", {"taps": "benchmark"})
