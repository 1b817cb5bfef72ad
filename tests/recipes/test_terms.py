"""Terms by name with the reference settings, sums of them, and the plans of several phases."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from by_name import plan_of
from safetensors.torch import save_file
from torch import Tensor, nn

from cohobate.commands.images import read_data
from cohobate.core import Batch, Frozen, Method, Phase, Plan, Term
from cohobate.methods.dgkd import DGKD
from cohobate.methods.distillation import Distillation
from cohobate.methods.fitnet import HintTraining
from cohobate.methods.slkd import SLKD
from cohobate.methods.slkd_sequential import Guided, SelfLearning, SLKDInTurns
from cohobate.models.build import build
from cohobate.recipes.catalogue import METHODS, TERMS
from cohobate.recipes.job import Job
from cohobate.recipes.options import options, options_model, own_options
from cohobate.recipes.recipe import find

RISE = 20 / 240

# Options of the public CIFAR-100 benchmark.
REFERENCE: dict[str, dict[str, Any]] = {
    "kd": {"weight": 0.9, "temperature": 4.0, "ce_weight": 0.1},
    # Not of the benchmark: ResKD's eq. 3 with its tau and t as decided, for the paper prints none.
    "l2": {"of": "logits", "reduction": None, "temperature": 4.0, "weight": 0.9, "ce_weight": 0.1},
    "standardised_kd": {"weight": 9.0, "temperature": 2.0, "ce_weight": 0.1},
    "dkd": {"weight": 1.0, "alpha": 1.0, "beta": 8.0, "temperature": 4.0, "ramp": RISE, "ce_weight": 1.0},
    "dist": {"weight": 1.0, "inter": 2.0, "intra": 2.0, "temperature": 4.0, "ce_weight": 1.0},
    "hard": {"weight": 0.5, "ce_weight": 0.5},
    "fitnet": {"weight": 100.0, "stage": None, "ce_weight": 1.0},
    "at": {"weight": 1000.0, "ce_weight": 1.0},
    "sp": {"weight": 3000.0, "ce_weight": 1.0},
    "rkd": {"weight": 1.0, "distance_weight": 25.0, "angle_weight": 50.0, "ce_weight": 1.0},
    "overhaul": {"weight": 0.001, "ce_weight": 1.0},
    "crd": {
        **{"weight": 0.8, "dim": 128, "negatives": 16384, "temperature": 0.07, "memory_momentum": 0.5},
        "ce_weight": 1.0,
    },
    "reviewkd": {"weight": 5.0, "mid_channels": None, "ramp": RISE, "ce_weight": 1.0},
    # Not of the benchmark: the paper's, which is about masks; 50 for stages, 3 for logits.
    "cwd": {"maps": None, "stage": None, "temperature": 4.0, "weight": None, "ce_weight": 1.0},
}

# Option -> attribute of the term, where the term holds it in one of its parts; None: in its weights only.
CALLED: dict[str, dict[str, str | None]] = {
    "crd": {"dim": "student_embedding.out_features"},
    "l2": {"reduction": None},
    "reviewkd": {"mid_channels": None},
    "cwd": {"maps": None, "weight": None},
    "standardised_kd": {"temperature": "term.temperature"},
}

# Values that no default has, for a few options of every term.
OTHERS: dict[str, dict[str, Any]] = {
    "kd": {"weight": 0.3, "temperature": 3.0},
    "l2": {"of": "probabilities", "reduction": "mean", "temperature": 3.0, "weight": 0.3},
    "standardised_kd": {"weight": 4.0, "temperature": 3.0},
    "dkd": {"weight": 0.5, "alpha": 2.0, "beta": 6.0, "temperature": 2.0, "ramp": 0.25},
    "hard": {"weight": 0.25},
    "dist": {"weight": 0.5, "inter": 1.0, "intra": 3.0, "temperature": 1.0},
    "fitnet": {"weight": 10.0, "stage": -1},
    "at": {"weight": 10.0},
    "sp": {"weight": 30.0},
    "rkd": {"weight": 0.5, "distance_weight": 2.0, "angle_weight": 3.0},
    "overhaul": {"weight": 0.01},
    "crd": {"weight": 0.5, "dim": 16, "negatives": 32, "temperature": 0.1, "memory_momentum": 0.25},
    "reviewkd": {"weight": 1.0, "mid_channels": 8, "ramp": 0.5},
    "cwd": {"stage": -1, "temperature": 2.0},
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the weights of teachers."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(7)
    for name in ("resnet8", "resnet14"):
        save_file(build(name, 10).state_dict(), folder / f"{name}.safetensors")
    return folder


def job(weights: Path, method: str, *teachers: str, **given: Any) -> Job:
    """Of a resnet8 on digits, taught by a resnet14."""
    specs = tuple(f"{name}:weights={weights / name}.safetensors" for name in teachers or ("resnet14",))
    config = options(method, {"teacher": specs, "device": "cpu", **given})
    return Job(config, read_data(config))


def plan(weights: Path, method: str, *teachers: str, **given: Any) -> Plan:
    """Of the method, its options checked as the command line does it."""
    return plan_of(method, job(weights, method, *teachers, **given))


def first(weights: Path, method: str, **given: Any) -> Distillation:
    """What the only phase of a sum of terms trains."""
    (phase,) = list(plan(weights, method, **given))
    assert phase.name == "student"
    assert phase.settings == {}
    assert isinstance(phase.method, Distillation)
    return phase.method


def batch(work: Job, images: int = 6) -> Batch:
    """Images of the run as its loader gives them, half-way."""
    mean, std = torch.tensor(work.dataset.mean), torch.tensor(work.dataset.std)
    index = torch.arange(0, 20 * images, 20)
    some = work.dataset.train.subset(index)
    x = ((some.x / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()
    return Batch((x,), some.y, index, torch.tensor(0.5))


def carried(name: str, term: Term, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a term as the term itself has them."""
    found = {}
    for option in given:
        attribute = CALLED.get(name, {}).get(option, option)
        if option == "ce_weight" or attribute is None:
            continue
        value: Any = term
        for part in attribute.split("."):
            value = getattr(value, part)
        found[option] = value
    return found


def expected(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    unseen = {"ce_weight", *(option for option, to in CALLED.get(name, {}).items() if to is None)}
    return {option: value for option, value in given.items() if option not in unseen}


# ---------------------------------------------------------------- one term


def test_every_term_is_here() -> None:
    assert REFERENCE.keys() == OTHERS.keys() == TERMS.keys()
    assert METHODS.keys() >= TERMS.keys()
    assert all(find(name).needs_teacher for name in TERMS)


@pytest.mark.parametrize("name", REFERENCE)
def test_defaults_are_those_of_the_reference(weights: Path, name: str) -> None:
    fields = options_model(name).model_fields
    assert {option: fields[option].default for option in own_options(name)} == REFERENCE[name]
    assert all(fields[option].description for option in own_options(name))
    method = first(weights, name)
    assert method.ce_weight == REFERENCE[name]["ce_weight"]
    assert list(method.terms) == [name]
    assert carried(name, method.terms[name], REFERENCE[name]) == expected(name, REFERENCE[name])


@pytest.mark.parametrize("name", OTHERS)
def test_given_values_reach_the_term(weights: Path, name: str) -> None:
    method = first(weights, name, **OTHERS[name], ce_weight=0.25)
    assert method.ce_weight == 0.25
    assert carried(name, method.terms[name], OTHERS[name]) == expected(name, OTHERS[name])


@pytest.mark.parametrize("name", REFERENCE)
def test_a_step(weights: Path, name: str) -> None:
    """Both losses are weighted; the student, and what the term owns, are moved; the teacher is not."""
    work = job(weights, name)
    method = first(weights, name)
    assert all(p.grad is None for p in method.parameters())
    before = copy.deepcopy(method.teacher.network.state_dict())
    losses = method(batch(work))
    assert losses.keys() == {"ce", name}
    sum(losses.values()).backward()
    assert all(torch.isfinite(value) and value > 0 for value in losses.values())
    idle = [n for n, p in method.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert idle == []
    assert all(p.grad is None for p in method.teacher.network.parameters())
    after = method.teacher.network.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    ce = nn.functional.cross_entropy(method.student(batch(work).x).logits, batch(work).y)
    torch.testing.assert_close(losses["ce"], method.ce_weight * ce)


def test_reviewkd_is_as_wide_as_it_is_told(weights: Path) -> None:
    widths = [first(weights, "reviewkd", mid_channels=given).terms["reviewkd"] for given in (None, 8)]
    assert [term.fusions[0].enter[0].out_channels for term in widths] == [64, 8]


def test_crd_remembers_the_images_that_are_trained_on(weights: Path) -> None:
    work = job(weights, "crd", train_images=500, val_fraction=0.2)
    term = first(weights, "crd", train_images=500, val_fraction=0.2).terms["crd"]
    assert len(term.student_bank) == len(work.dataset.train) == len(term.place)
    assert term.size.tolist() == torch.bincount(work.dataset.train.y)[work.dataset.train.y].tolist()


def test_overhaul_takes_the_margins_of_the_teacher(weights: Path) -> None:
    term = first(weights, "overhaul").terms["overhaul"]
    margins = [module.margins for module in term.margins]
    assert [len(m) for m in margins] == [16, 32, 64]
    assert all((m < 0).all() for m in margins)


def test_overhaul_and_a_teacher_that_is_shown_other_statistics(weights: Path) -> None:
    """The wrapper that normalises anew hides nothing of the teacher."""
    spec = f"resnet14:weights={weights / 'resnet14.safetensors'}:mean=0.5/0.4/0.3:std=0.2/0.3/0.25"
    shown = first(weights, "overhaul", teacher=(spec,)).terms["overhaul"].margins
    plain = first(weights, "overhaul").terms["overhaul"].margins
    for one, other in zip(shown, plain, strict=True):
        assert torch.equal(one.margins, other.margins)


def test_a_mean_of_teachers_has_the_features_of_the_first(weights: Path) -> None:
    for name in ("fitnet", "at", "overhaul"):
        several = next(plan(weights, name, "resnet8", "resnet14")).method.teacher
        first = next(plan(weights, name, "resnet8")).method.teacher
        x = batch(job(weights, "kd")).x
        assert all(map(torch.equal, several(x).stages, first(x).stages))
    kd = next(plan(weights, "kd", "resnet8", "resnet14")).method
    assert torch.isfinite(sum(kd(batch(job(weights, "kd"))).values()))


# ---------------------------------------------------------------- sums


def test_the_options_of_a_sum_are_prefixed() -> None:
    own = options_model("kd+at+crd").model_fields
    assert own_options("kd+at+crd") == [
        *("kd_temperature", "kd_weight", "at_weight"),
        *("crd_dim", "crd_negatives", "crd_temperature", "crd_memory_momentum", "crd_weight", "ce_weight"),
    ]
    for name in ("kd", "at", "crd"):
        given = {option: value for option, value in REFERENCE[name].items() if option != "ce_weight"}
        assert {option: own[f"{name}_{option}"].default for option in given} == given
    assert find("kd+at+crd").needs_teacher


def test_values_reach_the_terms_of_a_sum(weights: Path) -> None:
    given = {"kd_temperature": 2.0, "at_weight": 7.0, "crd_negatives": 48, "crd_temperature": 0.2}
    method = first(weights, "kd+at+crd", **given, ce_weight=0.5)
    assert list(method.terms) == ["kd", "at", "crd"]
    kd, at, crd = method.terms.values()
    assert (kd.temperature, kd.weight, at.weight, method.ce_weight) == (2.0, 0.9, 7.0, 0.5)
    assert (crd.negatives, crd.temperature, crd.memory_momentum, crd.weight) == (48, 0.2, 0.5, 0.8)
    losses = method(batch(job(weights, "kd")))
    assert losses.keys() == {"ce", "kd", "at", "crd"}
    sum(losses.values()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in method.parameters())


def test_each_term_of_a_sum_is_worth_what_it_is_alone(weights: Path) -> None:
    torch.manual_seed(0)
    work = job(weights, "kd")
    together = first(weights, "kd+at+rkd")
    losses = together(batch(work))
    student = together.student
    for name in ("kd", "at", "rkd"):
        alone = first(weights, name)
        alone.student = student
        torch.testing.assert_close(alone(batch(work))[name], losses[name])


@pytest.mark.parametrize(
    ("name", "share"),
    [("kd+at", 0.1), ("at+kd", 0.1), ("crd+standardised_kd", 0.1), ("at+sp", 1.0), ("dkd+reviewkd", 1.0)],
)
def test_the_cross_entropy_leaves_room_for_kd(weights: Path, name: str, share: float) -> None:
    assert options_model(name).model_fields["ce_weight"].default == share
    assert first(weights, name).ce_weight == share


def test_spaces_in_a_sum(weights: Path) -> None:
    assert list(first(weights, "kd + at").terms) == ["kd", "at"]


def test_what_cannot_be_summed() -> None:
    with pytest.raises(ValueError, match=r"unknown term 'atx' in 'kd\+atx'; the nearest are at, "):
        find("kd+atx")
    with pytest.raises(ValueError, match=r"unknown term 'slkd' in 'at\+slkd'; the nearest are .*\bkd\b"):
        find("at+slkd")
    with pytest.raises(ValueError, match=r"unknown term '' in 'kd\+'"):
        find("kd+")
    with pytest.raises(ValueError, match=r"a term stands twice in 'kd\+at\+kd'"):
        find("kd+at+kd")
    with pytest.raises(ValueError, match="unknown method 'review'; the nearest are reviewkd"):
        find("review")


def test_unknown_options_and_values_out_of_range() -> None:
    with pytest.raises(
        ValueError, match=r"kd\+at has no option 'temperature'; the nearest are kd_temperature"
    ):
        options("kd+at", {"temperature": 3.0})
    with pytest.raises(ValueError, match="crd has no option 'negative'; the nearest are negatives"):
        options("crd", {"negative": 3})
    with pytest.raises(ValueError, match=r"kd\+crd: crd_negatives: .*greater than or equal to 1 \(got 0\)"):
        options("kd+crd", {"crd_negatives": 0})
    with pytest.raises(ValueError, match=r"kd: temperature: .*greater than 0 \(got 0"):
        options("kd", {"temperature": 0.0})


def test_a_term_needs_a_teacher() -> None:
    config = options("kd+at", {"device": "cpu"})
    with pytest.raises(ValueError, match="this method needs a teacher: give --teacher a run folder"):
        next(plan_of("kd+at", Job(config, read_data(config))))


# ---------------------------------------------------------------- plans of several phases


def state(network: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in network.state_dict().items()}


def equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


def trained(network: nn.Module) -> dict[str, Tensor]:
    """Move every weight, as a phase does; the state that the next phase must see."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    return state(network)


def steps(method: Method, work: Job) -> None:
    losses = method(batch(work))
    sum(losses.values()).backward()
    assert all(torch.isfinite(value) for value in losses.values())


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_takd(weights: Path) -> None:
    file = state(next(plan(weights, "kd")).method.teacher.network)
    work = job(weights, "takd", assistants=("resnet14", "resnet20"))
    phases = plan(
        weights, "takd", assistants=("resnet14", "resnet20"), temperature=2.0, weight=0.5, ce_weight=0.25
    )
    names, sizes, taught = [], [], file
    phase: Phase | None = next(phases)
    while phase is not None:
        method = phase.method
        assert isinstance(method, Distillation)
        assert (method.terms["kd"].temperature, method.terms["kd"].weight, method.ce_weight) == (
            2.0,
            0.5,
            0.25,
        )
        names.append(phase.name)
        sizes.append(parameters(method.student))
        assert isinstance(method.teacher, Frozen)
        assert equal(state(method.teacher.network), taught)
        assert phase.settings == {}
        steps(method, work)
        taught = trained(method.student)
        last, phase = method, next_of(phases)
    assert names == ["assistant-1", "assistant-2", "student"]
    assert sizes == [parameters(build(name, 10)) for name in ("resnet14", "resnet20", "resnet8")]
    # What an assistant still learned afterwards would not reach those whom it taught.
    assert not any(p.requires_grad for p in last.teacher.network.parameters())


def next_of(phases: Plan) -> Phase | None:
    try:
        return phases.send({"history": [], "best": None})
    except StopIteration:
        return None


def test_takd_without_assistants_is_kd(weights: Path) -> None:
    work = job(weights, "kd")
    defaults = {option: options_model("takd").model_fields[option].default for option in own_options("takd")}
    (phase,) = list(find("takd").plan(work, {**defaults, "assistants": ()}))
    assert phase.name == "student"
    assert equal(state(phase.method.teacher.network), state(work.teacher().network))
    assert phase.method.ce_weight == 0.1
    assert phase.method.terms["kd"].weight == 0.9
    for method in ("takd", "dgkd"):
        with pytest.raises(ValueError, match=rf"{method}: assistants is required"):
            options(method, {"teacher": ("resnet14",)})
        with pytest.raises(ValueError, match=rf"{method}: assistants: .*at least 1 item"):
            options(method, {"teacher": ("resnet14",), "assistants": ()})


def test_dgkd(weights: Path) -> None:
    work = job(weights, "dgkd", assistants=("resnet14", "resnet8"))
    expected = [state(work.teacher().network)]
    given = {"assistants": ("resnet14", "resnet8"), "temperature": 2.0, "weight": 0.5, "drop": 0.25}
    phases = plan(weights, "dgkd", **given)
    names = []
    phase: Phase | None = next(phases)
    while phase is not None:
        method = phase.method
        assert isinstance(method, DGKD)
        assert (method.temperature, method.weight, method.drop) == (2.0, 0.5, 0.25)
        names.append(phase.name)
        assert len(method.guides) == len(expected)
        assert all(equal(state(g.network), e) for g, e in zip(method.guides, expected, strict=True))
        steps(method, work)
        expected.append(trained(method.student))
        phase = next_of(phases)
    assert names == ["assistant-1", "assistant-2", "student"]


def test_earlier_phases_keep_their_guides(weights: Path) -> None:
    phases = plan(weights, "dgkd", assistants=("resnet14", "resnet8"))
    methods = [phase.method for phase in phases]
    assert [len(method.guides) for method in methods] == [1, 2, 3]
    assert methods[2].guides[0].network is methods[0].guides[0].network


def test_born_again(weights: Path) -> None:
    work = job(weights, "born_again", "resnet8")
    taught = state(work.teacher().network)
    phases = plan(weights, "born_again", "resnet8", generations=3)
    names, fresh = [], []
    phase: Phase | None = next(phases)
    while phase is not None:
        method = phase.method
        assert isinstance(method, Distillation)
        assert (method.terms["kd"].temperature, method.terms["kd"].weight, method.ce_weight) == (
            1.0,
            1.0,
            1.0,
        )
        names.append(phase.name)
        fresh.append(state(method.student))
        assert equal(state(method.teacher.network), taught)
        steps(method, work)
        taught = trained(method.student)
        phase = next_of(phases)
    assert names == ["generation-1", "generation-2", "generation-3"]
    # Each begins anew, not where its predecessor ended.
    assert not any(equal(a, b) for a, b in ((fresh[0], fresh[1]), (fresh[1], fresh[2]), (fresh[1], taught)))
    with pytest.raises(ValueError, match=r"born_again: generations: .*\(got 0\)"):
        options("born_again", {"generations": 0})


@pytest.mark.parametrize(
    ("epochs", "share", "split"),
    [(240, 1 / 6, (40, 200)), (12, 0.5, (6, 6)), (2, 1 / 6, (1, 1)), (3, 0.99, (2, 1)), (30, 0.01, (1, 29))],
)
def test_fitnet_stages(weights: Path, epochs: int, share: float, split: tuple[int, int]) -> None:
    work = job(weights, "kd")
    phases = plan(weights, "fitnet_stages", epochs=epochs, hint_share=share, hint_weight=3.0)
    hint = next(phases)
    assert isinstance(hint.method, HintTraining)
    assert (hint.name, hint.settings) == ("hint", {"epochs": split[0]})
    assert hint.method.term.weight == 3.0
    losses = hint.method(batch(work))
    assert losses.keys() == {"hint"}
    torch.testing.assert_close(losses["hint"] / 3, hint.method.term(*outputs(hint.method, work), batch(work)))
    learned = trained(hint.method.student)
    student = phases.send({})
    assert isinstance(student.method, Distillation)
    assert (student.name, student.settings) == ("student", {"epochs": split[1]})
    assert equal(state(student.method.student), learned)
    assert student.method.teacher.network is hint.method.teacher.network
    kd = student.method.terms["kd"]
    assert list(student.method.terms) == ["kd"]
    assert (kd.weight, kd.temperature, student.method.ce_weight) == (0.9, 4.0, 0.1)
    assert next_of(phases) is None


def outputs(method: HintTraining, work: Job) -> tuple[Any, Any]:
    x = batch(work).x
    return method.student(x), method.teacher(x)


def test_fitnet_stages_needs_two_epochs(weights: Path) -> None:
    with pytest.raises(ValueError, match="trains in two stages and needs at least 2 epochs, got 1"):
        next(plan(weights, "fitnet_stages", epochs=1))


SLKD_OPTIONS = {
    **{"sl_teachers": 2, "alpha": 0.2, "rho": 0.3, "teacher_weight": 0.5, "sl_weight": 2.0},
    **{"temperature": 3.0, "fuse": "probabilities", "sl_lr": 0.02},
}


def check_slkd(method: Any, learners: Any, student: bool = True) -> None:
    """The method has the options, and untrained copies of the teacher that differ."""
    assert (method.alpha, method.temperature) == (0.2, 3.0)
    assert method.sl_teachers.shares == pytest.approx((0.3, 0.7))
    assert method.sl_teachers.fuse == "probabilities"
    if student:
        assert (method.teacher_weight, method.sl_weight) == (0.5, 2.0)
        assert parameters(method.student) == parameters(build("resnet8", 10))
    teacher = state(method.teacher.network)
    states = [state(learner) for learner in learners]
    assert len(states) == 2
    assert all(s.keys() == teacher.keys() for s in states)
    assert not any(
        equal(a, b) for a, b in ((states[0], states[1]), (states[0], teacher), (states[1], teacher))
    )
    firsts = [next(iter(learner.parameters())) for learner in learners]
    assert not torch.equal(*firsts)


def test_slkd_parallel(weights: Path) -> None:
    (phase,) = list(plan(weights, "slkd", **SLKD_OPTIONS))
    assert phase.name == "train"
    assert isinstance(phase.method, SLKD)
    assert phase.settings == {"groups": {"sl_teachers": {"lr": 0.02}}}
    assert phase.method.groups().keys() >= phase.settings["groups"].keys()
    check_slkd(phase.method, phase.method.sl_teachers.networks)
    steps(phase.method, job(weights, "slkd"))
    assert all(p.grad is not None for p in phase.method.parameters())


def test_slkd_per_step(weights: Path) -> None:
    (phase,) = list(plan(weights, "slkd", form="per_step", **SLKD_OPTIONS))
    assert phase.name == "train"
    assert isinstance(phase.method, SLKDInTurns)
    assert phase.method.turns == 2
    assert phase.settings == {"groups": {"sl_teachers": {"lr": 0.02}}}
    assert phase.method.groups().keys() >= phase.settings["groups"].keys()
    check_slkd(phase.method.slkd, phase.method.slkd.sl_teachers.networks)
    given = batch(job(weights, "slkd"))
    for turn in range(2):
        sum(phase.method(given, turn).values()).backward()


def test_slkd_sequential(weights: Path) -> None:
    work = job(weights, "slkd")
    phases = plan(weights, "slkd", form="sequential", **SLKD_OPTIONS)
    one = next(phases)
    assert isinstance(one.method, SelfLearning)
    assert (one.name, one.settings) == ("sl_teachers", {"groups": {"sl_teachers": {"lr": 0.02}}})
    assert one.method.groups().keys() == {"sl_teachers"}
    check_slkd(one.method, one.method.sl_teachers.networks, student=False)
    steps(one.method, work)
    learned = [trained(network) for network in one.method.sl_teachers.networks]
    two = phases.send({})
    assert isinstance(two.method, Guided)
    assert (two.name, two.settings) == ("student", {})
    frozen = list(two.method.sl_teachers.networks)
    assert all(isinstance(each, Frozen) for each in frozen)
    assert all(equal(state(f.network), s) for f, s in zip(frozen, learned, strict=True))
    check_slkd(two.method, [each.network for each in frozen])
    assert two.method.teacher.network is one.method.teacher.network
    steps(two.method, work)
    assert next_of(phases) is None


def test_slkd_by_default(weights: Path) -> None:
    (phase,) = list(plan(weights, "slkd"))
    method = phase.method
    assert isinstance(method, SLKD)
    assert phase.settings == {}
    assert (method.alpha, method.temperature, method.teacher_weight, method.sl_weight) == (0.1, 4.0, 1.0, 3.0)
    assert method.sl_teachers.shares == (0.5, 0.5)
    assert method.sl_teachers.fuse == "logits"
    (three,) = list(plan(weights, "slkd", sl_teachers=3))
    assert len(three.method.sl_teachers.networks) == 3


def test_slkd_takes_one_teacher(weights: Path) -> None:
    with pytest.raises(ValueError, match="this method copies the teacher's architecture and takes one, got "):
        next(plan(weights, "slkd", "resnet8", "resnet14"))


@pytest.mark.parametrize("name", ["takd", "dgkd", "born_again", "fitnet_stages", "slkd"])
def test_a_plan_needs_a_teacher(name: str) -> None:
    given = {"assistants": ("resnet8",)} if name in ("takd", "dgkd") else {}
    config = options(name, {"device": "cpu", **given})
    with pytest.raises(ValueError, match="this method needs a teacher"):
        next(plan_of(name, Job(config, read_data(config))))
