"""SLKD: each equation against a loop from the paper; who learns from whom; its sequential forms."""

from __future__ import annotations

import math
from copy import deepcopy

import pytest
import torch
from naive import softmax
from torch import Tensor, nn
from zoo import CLASSES, batch, seeded, toy, toy_wide

from cohobate.core import Frozen, Method, as_output
from cohobate.methods.slkd import SLKD, sl_losses, student_losses
from cohobate.methods.slkd_fusion import Fusion, fuse_logits, fuse_probabilities
from cohobate.methods.slkd_sequential import Guided, SelfLearning, SLKDInTurns

ALPHA, TAU = 0.1, 4.0


def kd(teacher: Tensor, student: Tensor, tau: float) -> float:
    """A sample and a class at a time: tau^2 KL(teacher || student)."""
    total = 0.0
    for v, z in zip(teacher.tolist(), student.tolist(), strict=True):
        pairs = zip(softmax(v, tau), softmax(z, tau), strict=True)
        total += sum(p * (math.log(p) - math.log(q)) for p, q in pairs)
    return tau**2 * total / len(teacher)


def ce(logits: Tensor, y: Tensor) -> float:
    rows = zip(logits.tolist(), y.tolist(), strict=True)
    return sum(-math.log(softmax(row, 1.0)[label]) for row, label in rows) / len(y)


def lesson(target: Tensor, logits: Tensor, y: Tensor, alpha: float, tau: float) -> float:
    """Eqs. 1 to 5 share this form."""
    return alpha * ce(logits, y) + (1 - alpha) * kd(target, logits, tau)


def logits(count: int, rows: int = 6, scale: float = 2.0) -> tuple[list[Tensor], Tensor]:
    made = [scale * torch.randn(rows, 7, dtype=torch.float64) for _ in range(count)]
    return made, torch.randint(7, (rows,))


def slkd(**how: object) -> SLKD:
    return SLKD(toy(), Frozen(toy_wide()), [toy_wide(), toy_wide()], **how)  # type: ignore[arg-type]


def same(one: nn.Module, two: nn.Module) -> bool:
    return all(torch.equal(v, two.state_dict()[k]) for k, v in one.state_dict().items())


# ---------------------------------------------------------------- equations


@pytest.mark.parametrize("alpha", [0.1, 0.5])
def test_eqs_4_and_5(alpha: float) -> None:
    (one, two, teacher), y = logits(3)
    found = sl_losses([one, two], teacher, y, alpha, 3.0)
    assert list(found) == ["ce_sl_1", "kd_sl_1", "ce_sl_2", "kd_sl_2"]
    for i, z in enumerate((one, two), 1):
        value = found[f"ce_sl_{i}"] + found[f"kd_sl_{i}"]
        assert value.item() == pytest.approx(lesson(teacher, z, y, alpha, 3.0), rel=1e-12)


@pytest.mark.parametrize(("teacher_weight", "sl_weight"), [(1.0, 3.0), (0.5, 2.0), (0.0, 3.0), (1.0, 0.0)])
def test_eqs_1_3_and_7(teacher_weight: float, sl_weight: float) -> None:
    (student, teacher, sl_teacher), y = logits(3)
    found = student_losses(student, teacher, sl_teacher, y, ALPHA, TAU, teacher_weight, sl_weight)
    expected = teacher_weight * lesson(teacher, student, y, ALPHA, TAU)
    expected += sl_weight * lesson(sl_teacher, student, y, ALPHA, TAU)
    assert sum(found.values()).item() == pytest.approx(expected, rel=1e-12)  # type: ignore[union-attr]
    assert ("kd_teacher" in found, "kd_sl" in found) == (teacher_weight > 0, sl_weight > 0)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.3, 0.7), (1.0, 0.0), (0.2, 0.3, 0.5)])
def test_eq_6(shares: tuple[float, ...]) -> None:
    members, _ = logits(len(shares))
    fused = fuse_logits(shares, *members)
    mixed = fuse_probabilities(shares, 3.0, *members)
    for row in range(len(fused)):
        columns = list(zip(*(z[row].tolist() for z in members), strict=True))
        expected = [sum(s * z for s, z in zip(shares, column, strict=True)) for column in columns]
        assert fused[row].tolist() == pytest.approx(expected)
        each = list(zip(*(softmax(z[row].tolist(), 3.0) for z in members), strict=True))
        expected = [sum(s * p for s, p in zip(shares, column, strict=True)) for column in each]
        assert softmax(mixed[row].tolist(), 3.0) == pytest.approx(expected)


def test_two_fusions_differ_and_agree_where_they_must() -> None:
    (one, two), _ = logits(2)
    half = (0.5, 0.5)
    assert not torch.allclose(fuse_logits(half, one, two).softmax(1), fuse_probabilities(half, 1.0, one, two))
    alike = fuse_probabilities(half, 4.0, one, one.clone())
    torch.testing.assert_close(alike.softmax(1), one.softmax(1))


def test_gradients() -> None:
    (student, teacher, sl_teacher, other), y = logits(4, rows=2)
    for z in (student, sl_teacher):
        z.requires_grad_()

    def of_student(z: Tensor) -> Tensor:
        return torch.stack(
            list(student_losses(z, teacher, sl_teacher.detach(), y, ALPHA, TAU, 1.0, 3.0).values())
        )

    def of_sl(z: Tensor) -> Tensor:
        return torch.stack(list(sl_losses([z, other], teacher, y, ALPHA, TAU).values()))

    assert torch.autograd.gradcheck(of_student, (student,))
    assert torch.autograd.gradcheck(of_sl, (sl_teacher,))
    assert torch.autograd.gradcheck(lambda z: fuse_probabilities((0.3, 0.7), 2.0, z, other), (sl_teacher,))


def test_nothing_to_learn_from_a_teacher_that_agrees() -> None:
    (student,), y = logits(1)
    found = student_losses(student, student.clone(), student.clone(), y, ALPHA, TAU, 1.0, 3.0)
    found |= sl_losses([student], student.clone(), y, ALPHA, TAU)
    for name in ("kd_teacher", "kd_sl", "kd_sl_1"):
        assert found[name].item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("fuse", ["logits", "probabilities"])
def test_finite_far_out(fuse: str) -> None:
    far = [torch.tensor([row], requires_grad=True) for row in ([1e4, -1e4, 0.0], [-1e4, 1e4, 0.0])]
    student, teacher = far[0] * 1, -far[0].detach()
    half = (0.5, 0.5)
    target = fuse_logits(half, *far) if fuse == "logits" else fuse_probabilities(half, TAU, *far)
    y = torch.tensor([1])
    found = student_losses(student, teacher, target.detach(), y, ALPHA, TAU, 1.0, 3.0)
    found |= sl_losses(far, teacher, y, ALPHA, TAU)
    torch.stack(list(found.values())).sum().backward()
    assert all(torch.isfinite(v) for v in found.values())
    assert all(torch.isfinite(z.grad).all() for z in far if z.grad is not None)


def test_half_precision_is_computed_in_float32() -> None:
    half = [torch.randn(4, 6).bfloat16() for _ in range(3)]
    full = [z.float() for z in half]
    y = torch.randint(6, (4,))

    def everything(student: Tensor, one: Tensor, two: Tensor) -> list[Tensor]:
        fused = fuse_logits((0.5, 0.5), one, two), fuse_probabilities((0.5, 0.5), TAU, one, two)
        found = student_losses(student, one, fused[0], y, ALPHA, TAU, 1.0, 3.0)
        return [*fused, *found.values(), *sl_losses([one, two], student, y, ALPHA, TAU).values()]

    with torch.autocast("cpu", torch.bfloat16):
        rounded = everything(*half)
    for one, two in zip(rounded, everything(*full), strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, two)


# ---------------------------------------------------------------- who learns from whom


def apart(method: SLKD, steps: int) -> None:
    """A network at a time: its own loss, its own backward, its own optimizer."""
    networks = [method.student, *method.sl_teachers.networks]
    optimizers = [torch.optim.SGD(n.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01) for n in networks]
    for seed in range(steps):
        data = batch(8 + seed)
        teacher = method.teacher(data.x).logits
        learners = [as_output(n(data.x)).logits for n in method.sl_teachers.networks]
        student = as_output(method.student(data.x)).logits
        mean = fuse_logits((0.5, 0.5), *learners).detach()
        own = student_losses(student, teacher, mean, data.y, ALPHA, TAU, 1.0, 3.0)
        sum(own.values()).backward()  # type: ignore[union-attr]
        for learner in learners:
            sum(sl_losses([learner], teacher, data.y, ALPHA, TAU).values()).backward()  # type: ignore[union-attr]
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()


def together(method: Method, steps: int) -> None:
    """One backward over the sum, one optimizer a turn."""
    parameters = [p for group in method.groups().values() for p in group]
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.01)
    for seed in range(steps):
        for turn in range(method.turns):
            sum(method(batch(8 + seed), turn).values()).backward()  # type: ignore[union-attr]
            optimizer.step()
            optimizer.zero_grad()


def test_one_backward_equals_each_network_trained_by_its_own_loss() -> None:
    one = seeded(slkd).train()
    two = deepcopy(one)
    together(one, 3)
    apart(two, 3)  # type: ignore[arg-type]
    assert same(one, two)


def test_no_gradient_between_student_and_sl_teachers() -> None:
    method = slkd()
    for name, loss in method(batch()).items():
        groups = {
            "student": torch.autograd.grad(
                loss, list(method.student.parameters()), allow_unused=True, retain_graph=True
            ),
            **{
                f"sl_{i}": torch.autograd.grad(
                    loss, list(network.parameters()), allow_unused=True, retain_graph=True
                )
                for i, network in enumerate(method.sl_teachers.networks, 1)
            },
        }
        owner = name.partition("_")[2] if name[-1].isdigit() else "student"
        for who, gradients in groups.items():
            assert all((g is not None) == (who == owner) for g in gradients), (name, who)


def test_no_gradient_enters_the_teacher() -> None:
    method = slkd()
    data = batch()._replace(taught=torch.randn(16, CLASSES, requires_grad=True))
    total = sum(method(data).values())
    assert torch.autograd.grad(total, data.taught, allow_unused=True)[0] is None  # type: ignore[arg-type]


@pytest.mark.parametrize("fuse", ["logits", "probabilities"])
def test_rho_of_one_ignores_the_second_sl_teacher(fuse: str) -> None:
    method = seeded(lambda: slkd(rho=1.0, fuse=fuse))
    assert isinstance(method, SLKD)
    single = SLKD(method.student, method.teacher, [method.sl_teachers.networks[0]], fuse=fuse)  # type: ignore[arg-type]
    before, alone = method(batch()), single(batch())
    for name in ("ce_student", "kd_teacher", "kd_sl"):
        torch.testing.assert_close(before[name], alone[name])
    with torch.no_grad():
        for parameter in method.sl_teachers.networks[1].parameters():
            parameter.add_(torch.randn_like(parameter))
    after = method(batch())
    assert torch.equal(before["kd_sl"], after["kd_sl"])
    assert not torch.equal(before["ce_sl_2"], after["ce_sl_2"])


def test_teacher_logits_may_be_computed_before() -> None:
    method = slkd()
    data = batch()
    fresh = method(data)
    stored = method(data._replace(taught=method.teacher(data.x).logits))
    assert fresh == stored


def test_without_the_teacher_only_its_term_goes() -> None:
    whole = seeded(slkd)
    alone = seeded(lambda: slkd(teacher_weight=0.0, sl_weight=3.0))
    one, two = whole(batch()), alone(batch())
    assert set(one) - set(two) == {"kd_teacher"}
    torch.testing.assert_close(two["ce_student"], one["ce_student"] * 3 / 4)
    torch.testing.assert_close(two["kd_sl"], one["kd_sl"])


@pytest.mark.parametrize("count", [1, 3])
def test_any_number_of_sl_teachers(count: int) -> None:
    method = SLKD(toy(), toy_wide(), [toy_wide() for _ in range(count)])
    found = method(batch())
    assert len(found) == 3 + 2 * count
    names = ["student", *(f"sl_teacher_{i}" for i in range(1, count + 1))] + ["sl_fused"] * (count > 1)
    assert list(method.predictors()) == list(method.readouts(batch().x)) == names


def test_soft_labels() -> None:
    data = batch()
    soft = data._replace(y=torch.nn.functional.one_hot(data.y, CLASSES).float())
    method = slkd()
    one, two = method(data), method(soft)
    for name in one:
        torch.testing.assert_close(one[name], two[name])


# ---------------------------------------------------------------- predictions


@pytest.mark.parametrize("fuse", ["logits", "probabilities"])
def test_the_fused_predictor(fuse: str) -> None:
    method = slkd(fuse=fuse, rho=0.25).eval()
    x = batch().x
    with torch.no_grad():
        one, two = (as_output(n(x)).logits for n in method.sl_teachers.networks)
        fused = method.predictors()["sl_fused"](x)
        assert torch.equal(fused, method.readouts(x)["sl_fused"])
    if fuse == "logits":
        torch.testing.assert_close(fused, 0.25 * one + 0.75 * two)
    else:
        torch.testing.assert_close(fused.exp(), 0.25 * one.softmax(1) + 0.75 * two.softmax(1))


# ---------------------------------------------------------------- sequential forms


@pytest.mark.parametrize("fuse", ["logits", "probabilities"])
def test_two_phases_have_the_terms_of_the_parallel_form(fuse: str) -> None:
    """With SL-teachers in evaluation mode in both, as the second phase has them."""
    method = seeded(lambda: slkd(fuse=fuse, rho=0.3))
    assert isinstance(method, SLKD)
    networks = list(method.sl_teachers.networks)
    first = SelfLearning(method.teacher, networks, rho=0.3, fuse=fuse)  # type: ignore[arg-type]
    second = Guided(method.student, method.teacher, networks, rho=0.3, fuse=fuse)  # type: ignore[arg-type]
    method.sl_teachers.eval()
    parallel, phases = method(batch()), second(batch()) | first(batch())
    assert parallel.keys() == phases.keys()
    for name in parallel:
        torch.testing.assert_close(parallel[name], phases[name])


def test_finished_sl_teachers_are_left_alone() -> None:
    networks = [toy_wide(), toy_wide()]
    method = Guided(toy(), toy_wide(), networks).train()
    before = deepcopy(networks)
    together(method, 2)
    after = [frozen.network for frozen in method.sl_teachers.networks]
    assert all(same(a, b) for a, b in zip(before, after, strict=True))  # type: ignore[arg-type]
    assert not any(m.training for network in after for m in network.modules())
    assert list(method.groups()) == list(method.predictors()) == ["student"]
    assert not any("sl_teacher" in key for key in method.state_dict())


def test_the_fused_sl_teachers_are_what_the_first_phase_gives() -> None:
    several, one = SelfLearning(toy(), [toy(), toy()]), SelfLearning(toy(), [toy()])
    assert next(iter(several.predictors())) == next(iter(several.readouts(batch().x))) == "sl_fused"
    assert list(one.predictors()) == ["sl_teacher_1"]


def test_in_turns_the_student_sees_the_updated_sl_teachers() -> None:
    one = SLKDInTurns(slkd()).train()
    parts = deepcopy(one.slkd)
    together(one, 1)
    # By hand: the SL-teachers' update, what they say then, the student's update.
    data = batch(8)
    learners = parts.sl_teachers
    first = SelfLearning(parts.teacher, list(learners.networks)).train()
    together(first, 1)
    said = deepcopy(learners).logits(data.x)
    losses = parts.guide(data, parts.teacher(data.x).logits, said)
    optimizer = torch.optim.SGD(parts.student.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    sum(losses.values()).backward()  # type: ignore[union-attr]
    optimizer.step()
    assert same(one.slkd, parts)


def test_in_turns_statistics_move_once() -> None:
    method = SLKDInTurns(slkd()).train()
    counts = [v for k, v in method.state_dict().items() if k.endswith("num_batches_tracked")]
    together(method, 1)
    assert {int(v) for v in counts} == {1}


def test_in_turns_those_whose_turn_it_is_not_rest() -> None:
    method = SLKDInTurns(slkd())
    sum(method(batch(), 0).values()).backward()  # type: ignore[union-attr]
    assert all(p.grad is None for p in method.groups()["student"])
    method.zero_grad()
    sum(method(batch(), 1).values()).backward()  # type: ignore[union-attr]
    assert all(p.grad is None for p in method.groups()["sl_teachers"])


def tiny() -> nn.Module:
    """Compiles at once; whole networks are the contract test's."""
    return nn.Sequential(nn.Flatten(), nn.Linear(192, CLASSES), nn.BatchNorm1d(CLASSES))


def tiny_slkd(**how: object) -> SLKD:
    return SLKD(tiny(), tiny(), [tiny(), tiny()], **how)  # type: ignore[arg-type]


FORMS = {
    "parallel": tiny_slkd,
    "probabilities": lambda: tiny_slkd(fuse="probabilities", rho=0.3),
    "in turns": lambda: SLKDInTurns(tiny_slkd()),
    "first phase": lambda: SelfLearning(tiny(), [tiny(), tiny()]),
    "second phase": lambda: Guided(tiny(), tiny(), [tiny(), tiny()]),
}


@pytest.mark.parametrize("form", FORMS)
def test_compiled_equals_eager(form: str) -> None:
    method = seeded(FORMS[form]).double().train()
    data = batch(4, torch.float64)
    eager = deepcopy(method)
    torch._dynamo.reset()
    method.compile(backend="aot_eager", fullgraph=True, dynamic=False)
    for turn in range(method.turns):
        for one, two in zip(eager(data, turn).values(), method(data, turn).values(), strict=True):
            torch.testing.assert_close(one, two)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("count", "how", "message"),
    [
        (2, {"rho": (1.5, -0.5)}, r"rho must be at least 0, got \(1.5, -0.5\)"),
        (2, {"rho": (0.5, 0.6)}, r"sum to 1, got \(0.5, 0.6\)"),
        (2, {"rho": 1.5}, "rho must be at most 1, got 1.5"),
        (3, {"rho": 0.5}, "rho=0.5 is the weight of the first of two SL-teachers, but there are 3; give"),
        (1, {"rho": 0.5}, "there are 1; give a sequence"),
        (3, {"rho": (0.5, 0.5)}, "rho has 2 weights for 3 SL-teachers; give one weight for each"),
        (0, {}, "sl_teachers must be one network or several different ones, got 0"),
        (2, {"fuse": "features"}, "fuse must be one of 'logits', 'probabilities', got 'features'"),
        (2, {"alpha": 1.2}, "alpha must be at most 1, got 1.2"),
        (2, {"temperature": 0}, "temperature must be above 0, got 0"),
        (2, {"teacher_weight": -1}, "teacher_weight must be at least 0, got -1"),
        (2, {"teacher_weight": 0, "sl_weight": 0}, "must not both be 0, got 0 and 0; give"),
    ],
)
def test_bad_arguments(count: int, how: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SLKD(toy(), toy(), [toy() for _ in range(count)], **how)  # type: ignore[arg-type]


def test_eta_by_default_is_as_printed_beside_the_teacher_and_one_alone() -> None:
    """Table 4: alone, the student weighs the SL-teachers as KD weighs the teacher."""
    for kind in (SLKD, Guided):
        weights = {
            weight: kind(toy(), toy(), [toy(), toy()], teacher_weight=weight).sl_weight
            for weight in (1.0, 0.0)
        }
        assert weights == {1.0: 3.0, 0.0: 1.0}
    assert SLKD(toy(), toy(), [toy(), toy()], teacher_weight=0, sl_weight=3.0).sl_weight == 3.0


def test_the_same_network_twice_is_refused() -> None:
    network = toy()
    with pytest.raises(ValueError, match="got 2 of which 1 differ"):
        Fusion([network, network])


def test_other_classes_are_refused() -> None:
    other = nn.Sequential(nn.Flatten(), nn.Linear(192, 7))
    with pytest.raises(ValueError, match=r"student logits \(16, 7\) and teacher logits \(16, 5\) differ"):
        SLKD(other, toy(), [toy(), toy()])(batch())
    with pytest.raises(ValueError, match=r"logits of shapes \(16, 5\), \(16, 7\) cannot be fused"):
        SLKD(toy(), toy(), [toy(), other])(batch())
