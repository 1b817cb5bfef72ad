"""A stage of ResKD against a loop over images, written from the paper; who learns, and from whom."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import pytest
import torch
from naive import kl, rkd, softmax
from torch import Tensor, nn
from zoo import CLASSES, batch, seeded, toy, toy_wide

from cohobate.core import Batch, Frozen, Output, Sum, Term, as_output, running_sums
from cohobate.data.augment.labels import smooth
from cohobate.engine.evaluate import evaluating
from cohobate.methods.distillation import Distillation
from cohobate.methods.kd import KD
from cohobate.methods.l2 import L2
from cohobate.methods.reskd import EnsembleMember, MutualResKD, OfLogits, ResKD, residual
from cohobate.methods.rkd import RKD
from cohobate.methods.supervised import Supervised

TAU, T = 0.7, 3.0
TERMS = {
    "l2": lambda: L2(weight=TAU),
    "probabilities": lambda: L2(of="probabilities", temperature=T, weight=TAU),
    "kl": lambda: KD(temperature=T, weight=TAU),
}
READINGS = [(loss, compare) for loss in TERMS for compare in ("sum", "residual")]
DATA = batch(6, torch.float64)

Rows = list[list[float]]


def plain(classes: int = CLASSES) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(192, classes)).double()


def stage(number: int, term: nn.Module, **how: Any) -> ResKD:
    """R_i, its teacher, and the i networks before it."""
    torch.manual_seed(number)
    networks = [plain() for _ in range(number + 2)]
    return ResKD(networks[0], networks[1], term, networks[2:], **{"ce_weight": 1 - TAU, **how})  # type: ignore[arg-type]


def logits_of(method: Any) -> tuple[Rows, Rows, list[Rows]]:
    """Those of R_i, of T or of what is in its place, and of S_0, R_1 ... R_(i-1)."""
    teacher = getattr(method, "peer", None) or method.teacher
    with torch.no_grad():
        own, other = (as_output(n(DATA.x)).logits.tolist() for n in (method.network, teacher))
        return own, other, [as_output(n(DATA.x)).logits.tolist() for n in method.earlier]


def before(earlier: Sequence[Rows], image: int) -> list[float]:
    """S_(i-1) of an image, eq. 5."""
    return [sum(rows[image][k] for rows in earlier) for k in range(CLASSES)]


def cross_entropy(row: Sequence[float], y: int) -> float:
    return -math.log(softmax(row)[y])


def distance(loss: str, student: Sequence[float], teacher: Sequence[float]) -> float:
    """t^2 L_(T-S) of eq. 3, of one image."""
    if loss == "kl":
        return T**2 * kl(teacher, student, T)
    if loss == "probabilities":
        pairs = zip(softmax(student, T), softmax(teacher, T), strict=True)
        return T**2 * sum((p - q) ** 2 for p, q in pairs)
    return sum((s - t) ** 2 for s, t in zip(student, teacher, strict=True)) / CLASSES


def naive(method: Any, loss: str, compare: str, ce_of: str) -> tuple[float, float]:
    """(1 - tau) CE and tau t^2 L_(T-S) of eq. 3, from T_i = T - S_(i-1), means over the images."""
    own, teacher, earlier = logits_of(method)
    ce = kd = 0.0
    for image, y in enumerate(DATA.y.tolist()):
        so_far = before(earlier, image)
        together = [s + r for s, r in zip(so_far, own[image], strict=True)]
        if compare == "sum":
            kd += distance(loss, together, teacher[image])
        else:
            left = [t - s for t, s in zip(teacher[image], so_far, strict=True)]
            kd += distance(loss, own[image], left)
        ce += cross_entropy(together if ce_of == "sum" else own[image], y)
    return (1 - TAU) * ce / len(own), TAU * kd / len(own)


def close(found: Tensor, expected: float) -> bool:
    return found.item() == pytest.approx(expected, rel=1e-10)


# ---------------------------------------------------------------- eqs. 3 to 5


@pytest.mark.parametrize("number", [0, 1, 3])
@pytest.mark.parametrize("ce_of", ["sum", "residual"])
@pytest.mark.parametrize(("loss", "compare"), READINGS)
def test_a_stage_is_the_naive_one(loss: str, compare: str, ce_of: str, number: int) -> None:
    method = stage(number, TERMS[loss](), compare=compare, ce_of=ce_of)
    found = method(DATA)
    ce, kd = naive(method, loss, compare, ce_of)
    assert found.keys() == {"ce", "kd"}
    assert close(found["ce"], ce)
    assert close(found["kd"], kd)


@pytest.mark.parametrize("loss", TERMS)
def test_readings_differ_where_the_paper_is_open(loss: str) -> None:
    """Sum and residual: the same for L2 between logits alone. Cross-entropies differ from stage 1 on."""
    found = {c: stage(2, TERMS[loss](), compare=c)(DATA)["kd"].item() for c in ("sum", "residual")}
    assert (found["sum"] == pytest.approx(found["residual"], rel=1e-12)) == (loss == "l2")
    labels = {c: stage(2, TERMS[loss](), ce_of=c)(DATA)["ce"].item() for c in ("sum", "residual")}
    assert labels["sum"] != pytest.approx(labels["residual"], rel=1e-6)
    first = [stage(0, TERMS[loss](), compare=c, ce_of=c)(DATA) for c in ("sum", "residual")]
    assert first[0] == first[1]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_training_on_the_residual_is_training_the_sum(number: int) -> None:
    """L2 between logits, eq. 4 against eq. 5: the gradients of R_i are the same, in any stage."""
    gradients = []
    for compare in ("sum", "residual"):
        method = stage(number, L2(weight=TAU), compare=compare)
        loss = sum(method(DATA).values())
        gradients.append(torch.autograd.grad(loss, list(method.network.parameters())))  # type: ignore[arg-type]
    # And as nobody would write it: all networks in one sum, of which the last one learns.
    method = stage(number, L2(weight=TAU))
    whole = Sum([*(each.network for each in method.earlier), method.network])  # type: ignore[union-attr]
    direct = Distillation(whole, method.teacher, {"l2": L2(weight=TAU)}, ce_weight=1 - TAU)
    loss = sum(direct(DATA).values())
    gradients.append(torch.autograd.grad(loss, list(method.network.parameters())))  # type: ignore[arg-type]
    for other in gradients[1:]:
        for one, two in zip(gradients[0], other, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-13)
    assert all(g.abs().sum() > 0 for g in gradients[0])


@pytest.mark.parametrize(("loss", "compare"), READINGS)
def test_gradients(loss: str, compare: str) -> None:
    method = stage(2, TERMS[loss](), compare=compare)
    weight, bias = method.network[1].weight, method.network[1].bias  # type: ignore[index]

    def run(w: Tensor, b: Tensor) -> Tensor:
        found = torch.func.functional_call(method, {"network.1.weight": w, "network.1.bias": b}, (DATA,))
        return sum(found.values())  # type: ignore[return-value]

    assert torch.autograd.gradcheck(run, (weight, bias), fast_mode=True)


def test_the_residual_is_the_teacher_less_the_student() -> None:
    teacher, student = torch.randn(2, 4, 3)
    assert residual(teacher, student).tolist() == [
        [pytest.approx(t - s) for t, s in zip(*rows, strict=True)]
        for rows in zip(teacher.tolist(), student.tolist(), strict=True)
    ]
    half = residual(torch.tensor([256.0]).bfloat16(), torch.tensor([1.0]).bfloat16())
    assert half.dtype == torch.float32
    assert half.item() == 255


def test_what_is_left_of_a_stage_is_what_the_next_one_learns() -> None:
    """T_(i+1) = T_i - R_i of algorithm 1 is T - S_i."""
    torch.manual_seed(1)
    teacher, *networks = (torch.randn(4, CLASSES, dtype=torch.float64) for _ in range(4))
    left = teacher
    for own, so_far in zip(networks, running_sums(networks), strict=True):
        left = residual(left, own)
        torch.testing.assert_close(left, residual(teacher, so_far), rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize(("loss", "compare"), [r for r in READINGS if r[0] != "kl" or r[1] == "sum"])
@pytest.mark.parametrize("number", [0, 1])
def test_nothing_is_left_to_learn_where_the_sum_is_the_teacher(loss, compare: str, number: int) -> None:
    method = stage(number, TERMS[loss](), compare=compare)
    with torch.no_grad():
        for name, own in method.network.named_parameters():
            of_teacher = method.teacher.network.get_parameter(name)
            own.copy_(of_teacher - sum(n.network.get_parameter(name) for n in method.earlier))  # type: ignore[union-attr]
    found = method(DATA)["kd"]
    gradient = torch.autograd.grad(found, list(method.network.parameters()))
    assert found.item() == pytest.approx(0, abs=1e-20 if loss != "kl" else 1e-14)
    assert max(g.abs().max().item() for g in gradient) < 1e-12


def test_tau_shares_between_teacher_and_labels() -> None:
    for tau in (0.0, 1.0):
        method = stage(1, L2(weight=tau), ce_weight=1 - tau)
        found = method(DATA)
        gone, left = ("ce", "kd") if tau == 1 else ("kd", "ce")
        assert found[gone].item() == 0
        assert found[left].item() > 0
    labels = "the cross-entropy (ce_weight 0.3)"
    assert stage(1, L2(weight=0.7), ce_weight=0.3).label_readers == (labels,)
    assert stage(1, L2(weight=1.0), ce_weight=0.0).label_readers == ()


def test_soft_labels() -> None:
    method = stage(2, L2(weight=TAU))
    soft = smooth(DATA, 0.2, CLASSES)
    own, _, earlier = logits_of(method)
    expected = 0.0
    for image, probabilities in enumerate(soft.y.tolist()):
        together = [s + r for s, r in zip(before(earlier, image), own[image], strict=True)]
        expected -= sum(p * math.log(q) for p, q in zip(probabilities, softmax(together), strict=True))
    found = method(soft)
    assert close(found["ce"], (1 - TAU) * expected / len(own))
    assert torch.equal(found["kd"], method(DATA)["kd"])


def test_the_teachers_stored_logits_are_used() -> None:
    method = stage(2, L2())
    assert method.reads_logits_of is method.teacher
    stored = method.teacher(DATA.x).logits
    assert method(DATA._replace(taught=stored)) == method(DATA)
    assert method(DATA._replace(taught=2 * stored))["kd"] != method(DATA)["kd"]
    assert stage(2, OfLogits(RKD())).reads_logits_of is not None
    assert stage(2, RKD()).reads_logits_of is None


# ---------------------------------------------------------------- who learns


@pytest.mark.parametrize("compare", ["sum", "residual"])
def test_only_the_res_student_learns(compare: str) -> None:
    teacher, earlier = toy_wide().double(), [toy().double(), toy_wide().double()]
    method = ResKD(toy().double(), teacher, L2(), earlier, compare=compare).train()  # type: ignore[arg-type]
    assert {name.split(".")[0] for name, _ in method.named_parameters()} == {"network"}
    assert {name.split(".")[0] for name in method.state_dict()} == {"network"}
    sum(method(DATA).values()).backward()  # type: ignore[union-attr]
    for network in (*teacher.parameters(), *(p for n in earlier for p in n.parameters())):
        assert network.grad is None
    for held in (method.teacher, *method.earlier):
        assert all(p.grad is None and not p.requires_grad for p in held.network.parameters())  # type: ignore[union-attr]
    assert all(p.grad is not None for p in method.network.parameters())


def test_earlier_networks_are_as_they_are_deployed() -> None:
    """In evaluation mode while the res-student trains, and copies: training goes on without them."""
    network = toy().double()
    method = ResKD(toy().double(), toy().double(), L2(), [network]).train()
    held = method.earlier[0].network  # type: ignore[union-attr]
    state = deepcopy(held.state_dict())
    x = DATA.x
    method(DATA)
    assert not held.training
    assert network.training
    assert all(torch.equal(state[k], v) for k, v in held.state_dict().items())
    with evaluating(method), torch.no_grad():
        assert torch.equal(method.readouts(x)["S_0"], network.eval()(x).logits)


def test_frozen_networks_are_taken_as_they_are() -> None:
    earlier = [Frozen(plain()), Frozen(plain())]
    method = ResKD(plain(), Frozen(plain()), L2(), earlier)
    assert list(method.earlier) == earlier


def test_every_shorter_sum_is_a_readout() -> None:
    method = stage(3, L2())
    own, _, earlier = logits_of(method)
    with evaluating(method), torch.no_grad():
        found, predictors = method.readouts(DATA.x), method.predictors()
        assert list(found) == list(predictors) == ["student", "S_0", "S_1", "S_2"]
        for i in range(3):
            expected = [before(earlier[: i + 1], image) for image in range(len(own))]
            assert found[f"S_{i}"].tolist() == expected
            assert predictors[f"S_{i}"](DATA.x).tolist() == expected
        assert found["student"].tolist() == [before([*earlier, own], image) for image in range(len(own))]
        assert torch.equal(predictors["student"](DATA.x), found["student"])
    assert list(stage(0, L2()).predictors()) == ["student"]
    assert stage(0, L2()).predictors()["student"].state_dict().keys() == plain().state_dict().keys()


# ---------------------------------------------------------------- via RKD and DML


def test_via_rkd_of_logits_relates_the_residuals() -> None:
    method = stage(2, OfLogits(RKD(distance_weight=2.0, angle_weight=3.0)), compare="residual", ce_weight=1.0)
    own, teacher, earlier = logits_of(method)
    left = [[t - s for t, s in zip(row, before(earlier, b), strict=True)] for b, row in enumerate(teacher)]
    distances, angles = rkd(torch.tensor(own, dtype=torch.float64), torch.tensor(left, dtype=torch.float64))
    assert method(DATA)["kd"].item() == pytest.approx((2 * distances + 3 * angles).item(), rel=1e-9)


def test_via_rkd_of_logits_of_the_sum() -> None:
    method = stage(1, OfLogits(RKD(distance_weight=2.0, angle_weight=3.0)), compare="sum")
    own, teacher, earlier = logits_of(method)
    sums = [[s + r for s, r in zip(before(earlier, b), row, strict=True)] for b, row in enumerate(own)]
    distances, angles = rkd(*(torch.tensor(x, dtype=torch.float64) for x in (sums, teacher)))
    assert method(DATA)["kd"].item() == pytest.approx((2 * distances + 3 * angles).item(), rel=1e-9)


@pytest.mark.parametrize("compare", ["sum", "residual"])
def test_via_rkd_of_features_relates_those_of_r_and_t(compare) -> None:
    term = RKD(distance_weight=2.0, angle_weight=3.0)
    method = ResKD(toy().double(), toy_wide().double(), term, [toy().double()], compare=compare).eval()
    own, teacher = method.network(DATA.x).pooled, method.teacher(DATA.x).pooled
    distances, angles = rkd(own, teacher)
    torch.testing.assert_close(method(DATA)["kd"], 2 * distances + 3 * angles, rtol=1e-9, atol=1e-12)


def test_rkd_on_logits_is_rkd() -> None:
    inner = RKD(distance_weight=2.0, angle_weight=3.0)
    term = OfLogits(inner)
    student, teacher = torch.randn(2, 6, CLASSES, dtype=torch.float64)
    on_features = inner(Output(student, student), Output(teacher, teacher), DATA)
    # Whatever else the outputs have, or have not.
    noise = torch.randn(6, 9, dtype=torch.float64)
    assert torch.equal(term(Output(student, noise), Output(teacher), DATA), on_features)
    assert (term.logits_only, term.reads_labels, term.weight) == (True, False, inner.weight)


def mutual(number: int, term: nn.Module, **how: Any) -> MutualResKD:
    torch.manual_seed(number)
    networks = [plain() for _ in range(number + 2)]
    given: Any = {"ce_weight": 1 - TAU, **how}
    return MutualResKD(networks[0], networks[1], term, networks[2:], **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize(("loss", "compare"), READINGS)
def test_via_dml_is_the_naive_one_in_both_directions(loss: str, compare: str, number: int) -> None:
    method = mutual(number, TERMS[loss](), compare=compare)
    found = method(DATA)
    ce, kd = naive(method, loss, compare, "sum")
    assert found.keys() == {"ce", "kd", "ce_peer", "kd_peer"}
    assert close(found["ce"], ce)
    assert close(found["kd"], kd)
    own, peer, earlier = logits_of(method)
    peer_ce = peer_kd = 0.0
    for image, y in enumerate(DATA.y.tolist()):
        so_far = before(earlier, image)
        peer_ce += cross_entropy(peer[image], y)
        if compare == "sum":
            together = [s + r for s, r in zip(so_far, own[image], strict=True)]
            peer_kd += distance(loss, peer[image], together)
        else:
            left = [t - s for t, s in zip(peer[image], so_far, strict=True)]
            peer_kd += distance(loss, left, own[image])
    assert close(found["ce_peer"], (1 - TAU) * peer_ce / len(own))
    assert close(found["kd_peer"], TAU * peer_kd / len(own))


class Undetached(Term):
    """A user's term that leaves the detaching to the method."""

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        return (student.logits - teacher.logits).square().mean()


@pytest.mark.parametrize("term", [TERMS["kl"], Undetached])
@pytest.mark.parametrize("compare", ["sum", "residual"])
def test_via_dml_each_is_a_constant_for_the_other(compare: str, term: Any) -> None:
    method = mutual(2, term(), compare=compare)
    found = method(DATA)
    own, peer = (list(network.parameters()) for network in (method.network, method.peer))
    for names, learns, does_not in ((("ce", "kd"), own, peer), (("ce_peer", "kd_peer"), peer, own)):
        for name in names:
            given = torch.autograd.grad(found[name], learns, retain_graph=True)
            assert all(g.abs().sum() > 0 for g in given)
            none = torch.autograd.grad(found[name], does_not, retain_graph=True, allow_unused=True)
            assert none == (None,) * len(does_not)
    assert {name.split(".")[0] for name, _ in method.named_parameters()} == {"network", "peer"}


def test_via_dml_the_peer_is_a_readout_behind_the_sums() -> None:
    method = mutual(2, L2())
    with evaluating(method), torch.no_grad():
        found, predictors = method.readouts(DATA.x), method.predictors()
        assert list(found) == list(predictors) == ["student", "S_0", "S_1", "peer"]
        for name, predictor in predictors.items():
            assert torch.equal(predictor(DATA.x), found[name])
        assert torch.equal(found["peer"], method.peer(DATA.x))
    assert method.reads_logits_of is None
    assert method.label_readers == (f"the cross-entropy (ce_weight {1 - TAU:g})",)


# ---------------------------------------------------------------- the ensemble


def test_a_member_learns_as_if_it_were_alone() -> None:
    earlier = [plain(), plain()]
    for inner in (Supervised(plain()), ResKD(plain(), plain(), L2())):
        method = EnsembleMember(inner, earlier)
        alone = inner(DATA)
        assert method(DATA) == alone
        sum(method(DATA).values()).backward()  # type: ignore[union-attr]
        assert all(p.grad is not None for p in inner.network.parameters())  # type: ignore[union-attr]
        assert all(p.grad is None for each in method.earlier for p in each.network.parameters())  # type: ignore[union-attr]
        assert [p for g in method.groups().values() for p in g] == list(inner.network.parameters())  # type: ignore[union-attr]
        with torch.no_grad():
            found = method.readouts(DATA.x)
            assert list(found) == list(method.predictors()) == ["student", "S_0", "S_1"]
            sums = [before([n(DATA.x).tolist() for n in earlier[: i + 1]], 0) for i in range(2)]
            assert [found[f"S_{i}"][0].tolist() for i in range(2)] == sums
            networks = [*earlier, inner.network]
            assert found["student"][0].tolist() == before([n(DATA.x).tolist() for n in networks], 0)  # type: ignore[operator]
            assert torch.equal(method.predictors()["student"](DATA.x), found["student"])


def test_a_member_asks_for_what_its_method_asks_for() -> None:
    taught = ResKD(plain(), plain(), L2())
    assert EnsembleMember(taught, [plain()]).reads_logits_of is taught.teacher
    assert EnsembleMember(Supervised(plain())).reads_logits_of is None
    assert EnsembleMember(Supervised(plain())).label_readers == Supervised(plain()).label_readers

    class Asking(Supervised):
        second_view, turns, rests = "classmate", 2, True
        updated = 0

        def after_step(self) -> None:
            self.updated += 1

    inner = Asking(plain())
    method = EnsembleMember(inner)
    assert (method.second_view, method.turns, method.rests) == ("classmate", 2, True)
    method.after_step()
    assert inner.updated == 1


# ---------------------------------------------------------------- precision, errors


def test_under_autocast_sums_and_losses_are_of_float32() -> None:
    """Only the networks are rounded: a sum in bfloat16 would lose what a late res-student adds."""
    make = lambda: ResKD(toy(), toy_wide(), L2(), [toy(), toy()])  # noqa: E731
    method, data = seeded(make).eval(), batch(16)
    with torch.autocast("cpu", torch.bfloat16):
        found = method(data)
        rounded = [n(data.x).logits for n in (*method.earlier, method.network)]
        teacher = method.teacher(data.x).logits
        sums = method.readouts(data.x)
    assert {value.dtype for value in found.values()} == {torch.float32}
    assert {logits.dtype for logits in rounded} == {torch.bfloat16}
    exact = running_sums([logits.float() for logits in rounded])
    assert torch.equal(sums["student"], exact[-1])
    assert torch.equal(sums["S_1"], exact[1])
    expected = 0.9 * (exact[-1] - teacher.float()).square().mean()
    torch.testing.assert_close(found["kd"], expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ResKD(plain(7), plain(), L2()),
            r"student logits \(6, 7\) and teacher logits \(6, 5\) differ",
        ),
        (
            lambda: ResKD(plain(7), plain(), L2(), [plain()]),
            r"networks of a Sum predict logits of different shapes: \[\(6, 5\), \(6, 7\)\]",
        ),
        (
            lambda: ResKD(plain(), plain(), L2(), [plain(), plain(7)]),
            r"networks of a Sum predict logits of different shapes: \[\(6, 5\), \(6, 7\)\]",
        ),
        (
            lambda: ResKD(plain(), plain(7), L2(), [plain()]),
            r"student logits \(6, 5\) and teacher logits \(6, 7\) differ",
        ),
        (
            lambda: ResKD(plain(), plain(7), L2(), [plain()], compare="residual"),
            r"teacher logits \(6, 7\) and logits of the students before \(6, 5\) differ",
        ),
        (
            lambda: MutualResKD(plain(), plain(7), KD(), [plain()], compare="residual"),
            r"teacher logits \(6, 7\) and logits of the students before \(6, 5\) differ",
        ),
    ],
)
def test_logits_of_other_shapes_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()(DATA)


def test_one_logit_is_not_spread_over_the_classes() -> None:
    """Where shapes broadcast, nothing would fail by itself."""
    for compare in ("sum", "residual"):
        with pytest.raises(ValueError, match=r"\(6, 1\)"):
            ResKD(plain(), plain(1), L2(), [plain()], compare=compare)(DATA)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"ce_weight": -0.1}, "ce_weight must be at least 0, got -0.1"),
        ({"compare": "both"}, "compare must be .*sum.*residual.*, got 'both'"),
        ({"ce_of": "student"}, "ce_of must be .*sum.*residual.*, got 'student'"),
    ],
)
def test_options_out_of_range(how: Any, message: str) -> None:
    for make in (ResKD, MutualResKD):
        with pytest.raises(ValueError, match=message):
            make(plain(), plain(), L2(), **how)
