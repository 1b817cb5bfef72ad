"""FRSKD by name on masks: its defaults there, where they are recorded, and what is refused."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from dense_zoo import toy_scenes
from zoo import toy_images

from cohobate.commands.prepare import prepare
from cohobate.config.declared import declaration
from cohobate.core import Phase, Task
from cohobate.data.arrays import arrays
from cohobate.data.dataset import Dataset
from cohobate.methods.at import AT
from cohobate.methods.frskd import FRSKD
from cohobate.models.dense.network import DenseNetwork
from cohobate.models.dense.self_teacher import DenseSelfTeacher, SelfTeacher
from cohobate.recipes.frskd import BETA, BETA_MASKS, MASKS, defaults, feature_term
from cohobate.recipes.job import Job
from cohobate.recipes.options import for_task, label, options, recorded_options
from cohobate.recipes.recipe import find
from cohobate.runs.folder import _identities, recorded
from cohobate.runs.layout import RunFolder

DENSE = "dense:resnet8:width=8"
OURS: dict[Task, dict[str, Any]] = {
    "classification": {"alpha": 2.0, "temperature": 4.0, "start": 0.0, "ramp": 0.0, "width": 2.0, "depth": 2},
    "segmentation": {
        **{"alpha": 1.0, "temperature": 1.0, "start": 2 / 3, "ramp": 1 / 3},
        **{"width": 1.0, "depth": 1, "layers": 2},
    },
}
"""The papers' values, and the public code's temperature for masks."""


def pictures() -> Dataset:
    """Images with one label each."""
    return arrays(*toy_images(20, 0))


def method_on(dataset: Dataset, model: str = DENSE, **own: Any) -> FRSKD:
    config = options("frskd", {"model": model, **own})
    given = {name: getattr(config, name) for name in find("frskd").declaration.options}
    phase = next(iter(find("frskd").plan(Job(config, dataset), given)))
    assert isinstance(phase, Phase)
    assert isinstance(phase.method, FRSKD)
    return phase.method


def test_the_self_teacher_of_masks() -> None:
    method = method_on(toy_scenes())
    assert isinstance(method.network, DenseNetwork)
    assert isinstance(method.self_teacher, DenseSelfTeacher)
    assert isinstance(method.feature, AT)
    assert (method.alpha, method.feature.weight, method.temperature) == (1.0, 50.0, 1.0)
    assert (method.start, method.ramp) == (2 / 3, 1 / 3)
    assert method.self_teacher.widths == method.self_teacher.channels == (8, 8, 8)
    assert len(method.self_teacher.pyramid.layers) == 2


def test_options_of_the_self_teacher_of_masks() -> None:
    own = {"temperature": 4.0, "beta": 7.0, "layers": 1, "width": 2.0, "start": 0.5, "levels": 2, "depth": 2}
    method = method_on(toy_scenes(), "dense:resnet8:width=8:head=12", **own)
    assert isinstance(method.self_teacher, DenseSelfTeacher)
    assert isinstance(method.feature, AT)
    assert (method.temperature, method.feature.weight, method.start, method.ramp) == (4.0, 7.0, 0.5, 1 / 3)
    assert (method.self_teacher.channels, method.self_teacher.widths) == ((8, 8), (16, 16))
    assert len(method.self_teacher.pyramid.layers) == 1
    assert method.self_teacher.head.width == 12, "as wide as the network's own head"


def test_images_with_one_label_have_the_defaults_that_they_had() -> None:
    method = method_on(pictures(), "resnet8")
    assert isinstance(method.self_teacher, SelfTeacher)
    assert (method.alpha, method.temperature, method.start, method.ramp) == (2.0, 4.0, 0.0, 0.0)
    assert method.self_teacher.widths == (32, 64, 128)
    assert len(method.self_teacher.more) == 0


def test_more_layers_for_one_label_an_image() -> None:
    method = method_on(pictures(), "resnet8", layers=3)
    assert isinstance(method.self_teacher, SelfTeacher)
    assert len(method.self_teacher.more) == 2
    _, teacher = method.outputs(torch.randn(2, 3, 32, 32))
    teacher.logits.sum().backward()
    assert [n for n, p in method.self_teacher.named_parameters() if p.grad is None] == []
    assert [stage.shape[1] for stage in teacher.stages] == [32, 64, 128]


@pytest.mark.parametrize(
    ("model", "own", "message"),
    [
        (DENSE, {"sla": True}, r"sla turns images.*not with masks; leave it out"),
        (DENSE, {"features": "overhaul"}, r"with masks features is at, at_norm, fitnet or none"),
        ("resnet8", {}, r"resnet8 predicts one class an image, .* take one with a dense head: dense:resnet8"),
        (DENSE, {"levels": 5}, r"the self-teacher refines 5 stages, the network shows 3"),
        (DENSE, {"start": 0.8}, r"start and ramp are shares .* got 0\.8 and 0\.3333; give ramp 0\.2 or less"),
    ],
)
def test_what_is_refused_with_masks(model: str, own: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        method_on(toy_scenes(), model, **own)


# ---------------------------------------------------------------- defaults


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_defaults_by_the_labels(task: Task) -> None:
    assert defaults(task) == OURS[task]
    places = "methods.frskd:FRSKD", "models.dense.self_teacher:DenseSelfTeacher"
    known = {name for place in places for name in declaration(place).options}
    assert known >= MASKS.keys()
    config = for_task("frskd", options("frskd", {}), task)
    assert {name: getattr(config, name) for name in OURS[task]} == OURS[task]
    assert for_task("frskd", options("frskd", {"alpha": 3.0}), task).alpha == 3.0  # type: ignore[attr-defined]
    assert for_task("kd", options("kd", {"teacher": ("x",)}), task).temperature == 4.0  # type: ignore[attr-defined]


def test_the_help_says_the_defaults() -> None:
    """Each number in words: "none: 2, and 1 with masks"."""
    written = find("frskd").declaration.options
    for name in MASKS:
        found = re.search(r"none: (\S+), and (\S+) with masks\.$", written[name].help)
        assert found is not None, name
        numbers = [float(Fraction(number)) for number in found.groups()]
        images, masks = {"layers": 1, **defaults("classification")}, defaults("segmentation")
        assert numbers == [images[name], masks[name]], name
    assert declaration("models.dense.self_teacher:SelfTeacher").options["layers"].default == 1
    assert written["beta"].help.endswith(
        f"none: {BETA['at']:g} for at ({BETA_MASKS:g} with masks) and fitnet, "
        f"{BETA['at_norm']:g} for at_norm, {BETA['overhaul']:g} for overhaul."
    )
    assert BETA["fitnet"] == BETA["at"]


def test_overhaul_on_a_self_teacher_of_every_pixel_is_refused() -> None:
    teacher = DenseSelfTeacher((8, 8), (8, 8), 3)
    with pytest.raises(ValueError, match=r"overhaul compares .* DenseSelfTeacher does not give; take at"):
        feature_term("overhaul", 1.0, teacher)


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_what_the_data_decides_is_recorded_and_not_in_the_label(task: Task) -> None:
    dataset = pictures() if task == "classification" else toy_scenes()
    prepared = prepare("frskd", options("frskd", {"device": "cpu"}), lambda _: dataset)
    assert {name: prepared.options[name] for name in OURS[task]} == OURS[task]
    assert recorded("frskd", prepared.config).items() >= OURS[task].items()
    assert prepared.label == "frskd"
    given = prepare("frskd", options("frskd", {"device": "cpu", "alpha": 5.0}), lambda _: dataset)
    assert given.label == "frskd alpha=5.0"


def test_a_folder_from_before_is_still_that_of_its_run(tmp_path: Path) -> None:
    """It says alpha: 2.0, the default of that time, and nothing of layers."""
    prepared = prepare("frskd", options("frskd", {"device": "cpu"}), lambda _: pictures())
    before = recorded("frskd", prepared.config)
    assert before.pop("layers") is None
    before |= {"alpha": 2.0, "temperature": 4.0, "start": 0.0, "ramp": 0.0, "width": 2.0, "depth": 2}
    folder = RunFolder(tmp_path)
    folder.config.write_text(yaml.safe_dump(before))
    there, now = _identities(folder, "frskd", prepared.config)
    assert there == now
    read = {key: value for key, value in before.items() if key != "method"}
    assert label("frskd", recorded_options("frskd", read), "classification") == "frskd"
    other = prepare("frskd", options("frskd", {"device": "cpu", "alpha": 1.0}), lambda _: pictures())
    there, now = _identities(folder, "frskd", other.config)
    assert {key for key in now if now[key] != there.get(key)} == {"alpha"}
