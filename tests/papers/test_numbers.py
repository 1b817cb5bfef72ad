"""Every number of every set-up, against ``printed.yaml``: what the papers print, and what was decided."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from by_name import made_for

from cohobate.commands.published import with_setup
from cohobate.config.groups import Training
from cohobate.core import Method
from cohobate.data.arrays import arrays
from cohobate.data.augment.mixing import ALPHA
from cohobate.data.dataset import Dataset
from cohobate.data.sets import SETS
from cohobate.engine.measures.classification import PEER_MEAN
from cohobate.engine.schedule import factor
from cohobate.methods.ffm_cd import FeatureFusion, matched_gamma
from cohobate.methods.slkd import eta
from cohobate.models.build import build
from cohobate.papers.setups import find_setup, setups
from cohobate.recipes.frskd import BETA, BETA_MASKS
from cohobate.recipes.job import Job
from cohobate.recipes.options import for_method, for_task

PRINTED: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("printed.yaml").read_text())
PAIRS: list[dict[str, Any]] = PRINTED["slkd_pairs"]["rows"]


def pair_name(row: dict[str, Any]) -> str:
    return f"slkd/{row['teacher']}-{row['student']}"


def cases() -> Iterator[tuple[str, str, str]]:
    """Paper's section, set-up, method."""
    for section, printed in PRINTED["training"].items():
        names = list(map(pair_name, PAIRS)) if printed["setups"] == "every pair" else printed["setups"]
        yield from ((section, name, method) for name in names for method in printed["methods"])


CASES = list(cases())


def resolved(setup: str, method: str, **flags: Any) -> Any:
    """The options of a run with the set-up, as the command line makes them."""
    values = for_method(method, find_setup(setup).of(method))
    return with_setup(method, {**values, **flags}, setup)


def falls(config: Training) -> list[int]:
    """Epochs at whose beginning the learning rate is lower than before."""
    rates = [factor(config, epoch / config.epochs) for epoch in range(config.epochs)]
    return [epoch for epoch in range(1, config.epochs) if rates[epoch] < rates[epoch - 1]]


def test_every_set_up_is_checked() -> None:
    assert {name for _, name, _ in CASES} == setups().keys()
    assert len(PAIRS) == 11
    assert len(setups()) == 28


@pytest.mark.parametrize(("section", "name", "method"), CASES, ids=["-".join(case[1:]) for case in CASES])
def test_the_training_is_as_printed(section: str, name: str, method: str) -> None:
    paper = PRINTED["training"][section]
    decided = paper.get("decided", {})
    want = {key: decided.get(key, value) if value is None else value for key, value in paper.items()}
    config = for_task(method, resolved(name, method), paper.get("task", "classification"))
    assert (config.optimizer, config.momentum, config.nesterov) == (
        *(want["optimizer"], want["momentum"], want["nesterov"]),
    )
    assert (config.batch_size, config.epochs) == (want["batch_size"], want["epochs"])
    assert config.accumulate == decided.get("accumulate", 1)
    assert config.weight_decay == want["weight_decay"]
    assert (config.schedule, config.step_factor) == ("step", want["gamma"])
    assert falls(config) == want["milestones_epoch"]
    # The whole training set learns, and nothing that is not printed is added.
    assert config.val_fraction == 0
    assert (config.mixing, config.label_smoothing, config.ema, config.warmup) == ("none", 0, 0, 0)
    assert (config.clip, config.clip_value) == (None, decided.get("clip_value"))
    if want["lr"] is not None:
        assert config.lr == want["lr"]
    own = {**paper["of_method"].get(method, {}), **decided.get("of_method", {}).get(method, {})}
    assert {option: getattr(config, option) for option in own} == own


@pytest.mark.parametrize("name", PRINTED["data"])
def test_the_images_are_the_printed_ones(name: str) -> None:
    """By name, in the published numbers, and shown as the paper or its authors' code shows them."""
    want, config = PRINTED["data"][name], resolved(name, "baseline")
    assert config.data == want["names"][0]
    for data, train, test, classes in zip(
        *(want[key] for key in ("names", "train", "test", "classes")), strict=True
    ):
        assert SETS[data].classes == classes
        said = re.findall(r"([\d,]+) (train|test)", SETS[data].images)
        assert {part: int(number.replace(",", "")) for number, part in said} == {"train": train, "test": test}
    shown = {"crop": None, "eval_resize": None, "fit": "crop"}
    assert {key: getattr(config, key) for key in shown} == {key: want.get(key, shown[key]) for key in shown}
    own = {"cifar10": 32, "cifar100": 32, "cinic10": 32}.get(config.data)
    assert (config.image_size or own) == want["side"]
    # Mirror images are those of the data set, and nothing else is added.
    assert (config.flip, config.autoaugment, config.cutout) == (None, "none", 0)


def test_the_images_of_every_set_up_are_checked() -> None:
    others = {name for name in setups() if name not in PRINTED["data"]}
    assert others == {*map(pair_name, PAIRS), "frskd/voc"}  # its images: test_frskd_on_masks


@pytest.mark.parametrize("row", PAIRS, ids=pair_name)
def test_a_pair_of_slkd(row: dict[str, Any]) -> None:
    name = pair_name(row)
    config = resolved(name, "slkd")
    assert (config.model, config.teacher, config.data) == (row["student"], (row["teacher"],), "cifar100")
    assert (config.lr, config.teacher_lr) == (row["lr"], PRINTED["slkd_pairs"]["teacher_lr"])
    assert config.teacher_epochs is None
    assert resolved(name, "at").taps == PRINTED["slkd_pairs"]["taps"]
    known = {each["dkd_beta"] for each in PAIRS} - {None}
    beta = resolved(name, "dkd").beta
    # Of a pair that the benchmark lacks: 2, which it has for another small ResNet, or that of the family.
    assert beta == row["dkd_beta"] if row["dkd_beta"] else beta in {2.0, *known}
    assert resolved(name, "reviewkd").weight == row["reviewkd"]
    assert resolved(name, "kd+reviewkd").reviewkd_weight == row["reviewkd"]


@pytest.mark.parametrize("form", ["parallel", "per_step", "sequential"])
def test_sl_teachers_learn_at_the_teachers_rate(form: str) -> None:
    """On the pairs whose student learns at 0.01 too."""
    from cohobate.engine.plan import begin
    from cohobate.recipes.recipe import find

    config = resolved("slkd/wrn_40_2-shufflenet_v1", "slkd", form=form)
    small = config.model_copy(update={"model": "resnet8", "teacher": ("resnet14",)})
    job = Job(small, images(10), trained=lambda spec: build(spec, 10))
    own = {key: getattr(config, key) for key in type(config).model_fields if key not in Training.model_fields}
    phase = begin(find("slkd").plan(job, own), 0)
    assert phase.settings["groups"]["sl_teachers"]["lr"] == PRINTED["slkd_pairs"]["sl_teacher_lr"]
    assert config.lr == 0.01


def test_eta() -> None:
    """Table 4's student learns from the SL-teachers alone."""
    want = PRINTED["slkd_pairs"]["eta"]
    for weight, expected in ((1.0, want["beside_the_teacher"]), (0.0, want["alone"])):
        config = resolved("slkd/vgg13-vgg8", "slkd", teacher_weight=weight)
        assert eta(config.teacher_weight, config.sl_weight) == expected
    assert eta(0.0, 3.0) == 3.0


# ---------------------------------------------------------------- FRSKD: what follows from other options


FRSKD = [
    section
    for section, paper in PRINTED["training"].items()
    if section.startswith("frskd_") and "table" not in section and "task" not in paper
]


@pytest.mark.parametrize("section", FRSKD)
def test_beta_belongs_to_the_attention_term(section: str) -> None:
    paper = PRINTED["training"][section]
    wanted = {"at": paper["beta"], **PRINTED["frskd_features"]["beta"]}
    found = {}
    for features in wanted:
        config = resolved(*paper["setups"], "frskd", features=features)
        found[features] = BETA[features] if config.beta is None else config.beta
    assert found == wanted
    assert resolved(*paper["setups"], "frskd", beta=7.0).beta == 7.0, "a flag overrides a set-up"


@pytest.mark.parametrize("section", FRSKD)
@pytest.mark.parametrize("method", ["baseline", "frskd"])
def test_the_mixing_of_table_8(section: str, method: str) -> None:
    paper = PRINTED["training"][section]
    for kind, alpha in paper["mixing"].items():
        config = resolved(*paper["setups"], method, mixing=kind)
        assert (ALPHA[kind] if config.mixing_alpha is None else config.mixing_alpha) == alpha
        given = resolved(*paper["setups"], method, mixing=kind, mixing_alpha=0.5)
        assert given.mixing_alpha == 0.5


def test_frskd_on_masks() -> None:
    """Sections 4.2 and 6: silent for 40 of 60 epochs, then rising to alpha and beta."""
    paper = PRINTED["training"]["frskd_voc"]
    config = for_task("frskd", resolved("frskd/voc", "frskd"), "segmentation")
    decided = paper["decided"]
    assert (config.data, config.image_size, config.fit) == ("voc_seg", decided["image_size"], decided["fit"])
    assert config.start * config.epochs == pytest.approx(paper["start_epoch"])
    assert (config.start + config.ramp) * config.epochs == pytest.approx(config.epochs)
    assert (config.beta, BETA_MASKS) == (None, paper["beta"])
    assert resolved("frskd/voc", "frskd", model="efficientdet_d1").model == "efficientdet_d1"


# ---------------------------------------------------------------- networks of branches


def images(classes: int) -> Dataset:
    return arrays(np.zeros((2 * classes, 32, 32, 3), np.uint8), np.arange(2 * classes) % classes)


def made(setup: str, method: str, classes: int, **flags: Any) -> Method:
    learner: Method = made_for(method, Job(resolved(setup, method, **flags), images(classes)))
    return learner


def size(module: Any) -> int:
    return sum(p.numel() for p in module.parameters())


CLASSES = {"self_guidance/cifar10": 10, "self_guidance/fer2013": 7}
ROWS = [(s, method, m) for s, rows in PRINTED["parameters"].items() for method, m in rows.items()]


@pytest.mark.parametrize(("setup", "method", "millions"), ROWS, ids=[f"{s}-{m}" for s, m, _ in ROWS])
def test_the_parameters_of_self_guidances_tables(setup: str, method: str, millions: float) -> None:
    """Within two percent: the tables print one or two decimals, one number for two data sets."""
    assert size(made(setup, method, CLASSES[setup])) == pytest.approx(millions * 1e6, rel=0.02)


@pytest.mark.parametrize("setup", PRINTED["readouts"])
def test_the_read_out_is_the_one_that_the_table_means(setup: str) -> None:
    for method, wanted in PRINTED["readouts"][setup].items():
        config = resolved(setup, method)
        deployed, *others = made(setup, method, 10).predictors()
        assert (config.readout or deployed) == wanted
        assert config.readout in (None, deployed, *others, PEER_MEAN)


def convolution_and_norm(inputs: int, outputs: int, side: int) -> int:
    return inputs * outputs * side**2 + 2 * outputs


def basic_stage(inputs: int, outputs: int, blocks: int) -> int:
    """Parameters of a stage of a CIFAR ResNet, counted by hand: a 1x1 shortcut where the width grows."""
    first = convolution_and_norm(inputs, outputs, 3) + convolution_and_norm(outputs, outputs, 3)
    shortcut = convolution_and_norm(inputs, outputs, 1) if inputs != outputs else 0
    return first + shortcut + (blocks - 1) * 2 * convolution_and_norm(outputs, outputs, 3)


TRUNK = convolution_and_norm(3, 16, 3) + basic_stage(16, 16, 5)
TAIL = basic_stage(16, 32, 5) + basic_stage(32, 64, 5) + 64 * 100 + 100
"""ResNet-32: stem and first stage; the last two stages and the classifier, at 100 classes."""

GATE = {n: 16 * n + n + 2 * n for n in (3, 4)}
"""ONE's gate on n branches: a linear layer on the 16 channels of the shared stage, and batch norm."""

ATTENTION = 2 * 64 * 8


@pytest.mark.parametrize(
    ("method", "branches", "module"),
    [
        ("one", 3, GATE[3]),
        ("okddip", 4, ATTENTION),
        ("gate", 4, GATE[3]),
        ("gate_cd", 4, GATE[3]),
        ("sa", 4, ATTENTION),
        ("sa_cd", 4, ATTENTION),
        ("ffm", 4, None),
        ("ffm_cd", 4, None),
    ],
)
def test_every_branched_row_separates_the_last_two_blocks(
    method: str, branches: int, module: int | None
) -> None:
    """Section 4.1 of the diversity paper, tables 2 and 6; it prints no parameters, so they are counted."""
    learner = made("diversity/cifar100", method, 100)
    attention = size(FeatureFusion(64, 3)) if module is None else module
    assert size(learner) == TRUNK + branches * TAIL + attention


@pytest.mark.parametrize(
    ("model", "method", "branches"),
    [
        ("resnet110b", "one", 3),
        ("resnext50_32x4d", "okddip", 4),
        ("xception", "one", 3),
        ("shufflenet_v2", "ffm", 4),
        ("shufflenet_v2", "okddip", 4),
    ],
)
def test_the_other_networks_of_the_diversity_paper(model: str, method: str, branches: int) -> None:
    """The tails are whole in every branch: the network without the stages that are shared."""
    group: Any = made("diversity/cifar100", method, 100, model=model).group
    stages = len(group.alone(0)(images_of(2)).stages)
    assert (len(group), group.shared) == (branches, stages - 2)
    assert size(group) == size(group.trunk) + branches * size(group.tails[0])
    assert size(group.trunk) + size(group.tails[0]) == size(build(model, 100))


def images_of(count: int) -> Any:
    import torch

    return torch.zeros(count, 3, 32, 32)


def test_the_printed_gamma() -> None:
    default = inspect.signature(matched_gamma).parameters["printed"].default
    assert default == PRINTED["training"]["diversity"]["cd_gamma"]


# ---------------------------------------------------------------- what the papers draw


def test_set_ups_log_what_their_paper_draws() -> None:
    logged = {name: (s.options.get("log_train"), s.options.get("log_test")) for name, s in setups().items()}
    for name, curves in logged.items():
        paper = name.partition("/")[0]
        # Self-Guidance's figures 2 to 4: train and test error; SLKD's figure 3: accuracy on the test images.
        assert curves == {"self_guidance": (True, True), "slkd": (None, True)}.get(paper, (None, None))
    # FRSKD's figure 3: maps at epoch 50, on the fine-grained sets.
    assert setups()["frskd/fgvr"].options["keep_epochs"] == (50,)
