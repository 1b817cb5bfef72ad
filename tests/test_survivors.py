"""Mutants (scripts/mutate) that no other test caught: a test for each, where possible for its whole kind."""

from __future__ import annotations

import ast
import inspect
import time
from contextlib import nullcontext
from pathlib import Path
from signal import SIGTERM
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from zoo import ZOO, StopAfter, batch, seeded, toy, toy_byot, toy_wide, trainer

import cohobate
from cohobate.config.declared import declaration
from cohobate.core import Method, Output, Term
from cohobate.core.classes import match_classes
from cohobate.core.options import declared_hints, problem
from cohobate.engine.errors import Stopped
from cohobate.engine.loop import LOOK_EVERY, Trainer
from cohobate.engine.measures.classification import BINS, _count
from cohobate.engine.probe import step_seconds
from cohobate.engine.signals import Stopper
from cohobate.methods.byot import BYOT
from cohobate.methods.crd import CRD, moved
from cohobate.methods.ffm_cd import FeatureFusion
from cohobate.methods.fitnet import SizedRegressor
from cohobate.methods.kd import softened_kl
from cohobate.methods.one import BranchGate
from cohobate.methods.sad import SAD
from cohobate.methods.slkd_fusion import Fusion
from cohobate.methods.supervised import Supervised
from cohobate.recipes.catalogue import METHODS

PUBLIC = [getattr(cohobate, name) for name in cohobate.__all__]
MODULES = [kind for kind in PUBLIC if isinstance(kind, type) and issubclass(kind, nn.Module)]
MODULES.remove(cohobate.Gate)  # no options: where it stands
SOURCE = Path(cohobate.__file__).parent
NETWORKS = {
    (cohobate.FitNet, "regressor"),
    (cohobate.ResKD, "earlier"),
    (cohobate.MutualResKD, "earlier"),
    (cohobate.EnsembleMember, "earlier"),
}
"""Parameters that are networks, not options."""


# ---------------------------------------------------------------- kinds


@pytest.mark.parametrize("kind", MODULES, ids=lambda kind: kind.__name__)
def test_what_has_a_default_is_given_by_name(kind: type) -> None:
    """So that two options cannot be swapped in a call."""
    for parameter in inspect.signature(kind).parameters.values():
        if (kind, parameter.name) in NETWORKS:
            continue
        if parameter.default is not inspect.Parameter.empty:
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, parameter
        else:
            assert parameter.kind is not inspect.Parameter.POSITIONAL_ONLY, parameter


@pytest.mark.parametrize("name", METHODS)
def test_defaults_are_within_their_own_ranges(name: str) -> None:
    for option, declared in declaration(METHODS[name]).options.items():
        if declared.default is not inspect.Parameter.empty:
            assert problem(declared.default, declared.hint) is None, option


@pytest.mark.parametrize(
    "kind", [k for k in MODULES if issubclass(k, Method | Term)], ids=lambda k: k.__name__
)
def test_defaults_of_constructors_are_within_their_own_ranges(kind: type) -> None:
    parameters = inspect.signature(kind.__init__).parameters  # type: ignore[misc]
    for option, hint in declared_hints(kind.__init__).items():  # type: ignore[misc]
        if parameters[option].default is not inspect.Parameter.empty:
            assert problem(parameters[option].default, hint) is None, option


def test_what_declares_ranges_checks_them() -> None:
    declaring = [kind for kind in MODULES if declared_hints(kind.__init__)]  # type: ignore[misc]
    assert len(declaring) > 25
    unchecked = {kind.__name__ for kind in declaring if not hasattr(kind.__init__, "__wrapped__")}  # type: ignore[misc]
    # A name, a switch, and one that says more about its weights.
    assert unchecked == {"Classifier", "Frozen", "Mean"}


PLAIN = {
    "cl_ilr.rescaled",
    "crd.draw_negatives",
    "ddgsd.features",
    "deit.two_heads",
    "fitnet.to_common_size",
    "group.others",
    "group.summed_cross_entropy",
    "hard_label.hard_label_loss",
    "hard_label.teacher_labels",
    "ranks.of_all_ranks",
    "sla.joint_labels",
    "sla.rotations",
    "slkd.sl_losses",
    "slkd.student_losses",
    "stochastic_depth.draw",
    "sums.sum_before",
    "sums.summed_readouts",
}
"""Functions of tensors that compute nothing in the tensors' own precision, or leave it to others."""


def test_equations_are_computed_in_float32() -> None:
    """House rule: every function from tensors to a tensor has @float32, or stands in the list above."""
    without = set()
    for file in sorted((SOURCE / "methods").glob("*.py")):
        for node in ast.parse(file.read_text()).body:
            if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
                continue
            takes = {ast.unparse(a.annotation) for a in node.args.args if a.annotation is not None}
            gives = "" if node.returns is None else ast.unparse(node.returns)
            marked = any(ast.unparse(decorator) == "float32" for decorator in node.decorator_list)
            if "Tensor" in takes and ("Tensor" in gives or gives == "Losses") and not marked:
                without.add(f"{file.stem}.{node.name}")
    assert without - PLAIN == set()


def test_equations_keep_their_names() -> None:
    """``help()`` and an editor show the function, not its wrapper."""
    assert softened_kl.__name__ == "softened_kl"
    assert (softened_kl.__doc__ or "").startswith("T^2 KL")
    assert list(inspect.signature(softened_kl).parameters)[:2] == ["student_logits", "teacher_logits"]


# ---------------------------------------------------------------- methods


def test_exits_are_numbered_from_1() -> None:
    for number in (0, 3):
        with pytest.raises(ValueError, match="unhinted names exits from 1 to 2"):
            toy_byot(unhinted=(number,), beta=0.1)
    assert isinstance(toy_byot(unhinted=(1,), beta=0.1), BYOT)


def test_the_memory_moves_by_its_momentum() -> None:
    old, new = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    expected = torch.tensor([[0.9, 0.1]])
    torch.testing.assert_close(moved(old, new, 0.9), expected / expected.norm())


@pytest.mark.parametrize("labels", [torch.arange(4.0), torch.arange(4).reshape(2, 2)])
def test_crd_takes_a_row_of_whole_labels(labels: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"whole numbers of shape \(M,\)"):
        CRD(8, 8, labels, dim=4)


def test_the_fusion_module_has_3x3_convolutions_and_takes_its_own_channels() -> None:
    module = FeatureFusion(8, 3)
    assert [m.kernel_size for m in module.modules() if isinstance(m, nn.Conv2d)] == [(3, 3), (3, 3)]
    peers = [Output(torch.zeros(2, 5), None, (torch.randn(2, c, 4, 4),)) for c in (8, 9, 8)]
    with pytest.raises(ValueError, match="takes maps of 8 channels and one size"):
        module(peers)


def test_a_gate_on_a_stage_that_is_not_there_is_refused() -> None:
    output = toy()(batch().x)
    with pytest.raises(ValueError, match="the gate reads stage 3 of 8 channels"):
        BranchGate(8, 3, stage=3)([output] * 3)


def test_no_stage_is_skipped_backwards() -> None:
    with pytest.raises(ValueError, match="skip must be at least 0, got -1"):
        SAD(toy(), skip=-1)
    with pytest.raises(ValueError, match=r"start must be at least 0, got -0\.5"):
        SAD(toy(), start=-0.5)
    with pytest.raises(ValueError, match=r"weight must be at least 0, got -0\.5"):
        SAD(toy(), weight=-0.5)


@pytest.mark.parametrize("rho", [-0.1, 1.1])
def test_rho_is_a_share(rho: float) -> None:
    with pytest.raises(ValueError, match=f"rho must be .*, got {rho}"):
        Fusion([toy(), toy_wide()], rho=rho)


@pytest.mark.parametrize("rho", [(0.2, 0.3, 0.5), (1.0,)])
def test_rho_has_a_weight_for_each_network(rho: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=rf"rho has {len(rho)} weights for 2"):
        Fusion([toy(), toy_wide()], rho=rho)


# ---------------------------------------------------------------- engine


def test_only_the_last_micro_batch_is_synchronised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def sync(module: Any, last: bool) -> Any:
        asked.append(last)
        return nullcontext()

    monkeypatch.setattr("cohobate.engine.loop.synchronised", sync)
    trainer(Supervised(toy()), tmp_path, accumulate=2, epochs=1).run()
    assert asked == [False, True] * (len(asked) // 2)
    assert len(asked) == 10


def test_images_a_second_are_the_images_over_the_seconds(tmp_path: Path) -> None:
    learner = trainer(Supervised(toy()), tmp_path)
    learner.run()
    for line in learner.standing.history:
        assert line["images_per_s"] == pytest.approx(line["images"] / line["seconds"])


def test_the_least_confident_images_are_in_the_first_bin_of_the_calibration() -> None:
    """With 100 classes, a network that knows nothing is 1 percent sure."""
    logits, y = torch.zeros(4, 100, dtype=torch.float64), torch.tensor([0, 1, 2, 3])
    top = torch.arange(5).repeat(4, 1)
    bins = _count(logits, top, y)[4 : 4 + BINS]
    torch.testing.assert_close(bins[0], torch.tensor(4 * 0.01 - 1, dtype=torch.float64))
    assert not bins[1:].any()


@pytest.mark.parametrize("name", ZOO)
def test_the_teacher_whose_logits_are_stored_is_one_of_the_methods_own(name: str) -> None:
    method = seeded(ZOO[name].make)
    stored = method.reads_logits_of
    assert stored is None or any(stored is module for module in method.modules())


def test_the_seconds_of_a_phase_are_those_that_pass(tmp_path: Path) -> None:
    start = time.monotonic()
    learner = trainer(Supervised(toy()), tmp_path)
    learner.run()
    seconds = [line["seconds"] for line in learner.standing.history]
    assert min(seconds) > 0
    assert sum(seconds) < time.monotonic() - start
    start = time.monotonic()
    stopped = trainer(Supervised(toy()), tmp_path / "stopped", StopAfter(3))
    with pytest.raises(Stopped):
        stopped.run()
    assert 0 < stopped.standing.seconds < time.monotonic() - start


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_losses_are_looked_at_now_and_then_on_a_card_and_always_on_a_processor(device: str) -> None:
    """Each look waits for the card; the last step is always looked at."""
    steps = 2 * LOOK_EVERY + 5
    looked = []
    for step in range(steps):
        fake = SimpleNamespace(
            device=SimpleNamespace(type=device), standing=SimpleNamespace(step=step), steps=steps
        )
        if Trainer._look(fake):  # type: ignore[arg-type]
            looked.append(step)
    every = list(range(steps)) if device == "cpu" else [0, LOOK_EVERY, 2 * LOOK_EVERY, steps - 1]
    assert looked == every


def test_a_stop_by_a_signal_exits_as_the_shell_says_it() -> None:
    stopper = Stopper(1.0)
    assert stopper.code == 75
    stopper.signal = SIGTERM
    assert stopper.code == 128 + 15


def test_the_time_of_a_step_is_measured_on_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    from cohobate.config.groups import Settings

    ran: list[int] = []

    class Counting(Supervised):
        def forward(self, batch: Any, turn: int = 0) -> Any:
            ran.append(turn)
            return super().forward(batch, turn)

    settings = Settings.model_validate({"device": "cpu", "compile": "off"})
    assert step_seconds(Counting(toy()), batch(), settings, rounds=2) > 0
    assert ran == [0, 0, 0]


def test_a_bank_and_the_places_of_its_images_are_as_the_checkpoint_needs_them() -> None:
    """Places follow from the labels, so that a state holds the banks and not them."""
    term = CRD(4, 4, torch.tensor([0, 1, 0, 1]), negatives=2)
    assert "place" in dict(term.named_buffers())
    assert "place" not in term.state_dict()


@pytest.mark.parametrize("names", [("-", "."), ("0", "10"), ("0", "1", "-")])
def test_numbers_are_names_unless_they_count(names: tuple[str, ...]) -> None:
    ours = tuple(f"class {k}" for k in range(len(names)))
    with pytest.raises(ValueError, match="has other classes than the data"):
        match_classes(names, ours, "the teacher")
    counted = tuple(map(str, range(len(names))))
    assert match_classes(counted, ours, "the teacher").note is not None


@pytest.mark.parametrize(
    ("size", "target"), [((8, 8), (4, 4)), ((4, 4), (8, 8)), ((16, 16), (4, 4)), ((9, 8), (4, 4))]
)
def test_the_benchmarks_regressor_meets_the_size(size: tuple[int, int], target: tuple[int, int]) -> None:
    assert SizedRegressor(3, 5, size, target)(torch.randn(2, 3, *size)).shape == (2, 5, *target)


@pytest.mark.parametrize("option", ["start", "ramp"])
def test_a_share_is_at_least_0(option: str) -> None:
    """Of every public method that has such an option."""
    takers = [kind for kind in MODULES if option in inspect.signature(kind).parameters]
    assert takers
    for kind in takers:
        hint = declared_hints(kind.__init__)[option]  # type: ignore[misc]
        assert problem(-0.5, hint) is not None, kind
