"""FRSKD on masks: its equations against a loop over the pixels, what is ignored, and who learns from whom."""

from __future__ import annotations

import math

import pytest
import torch
from dense_zoo import batch_of_masks, toy_dense, toy_dense_frskd
from naive import kl, softmax
from torch import Tensor, nn
from zoo import CLASSES, SIZE, batch, seeded, toy

from cohobate.core import IGNORED, Batch, Output, cross_entropy
from cohobate.methods.at import AT
from cohobate.methods.frskd import FRSKD, printed_kl
from cohobate.methods.kd import softened_kl
from cohobate.models.dense.self_teacher import DenseSelfTeacher, SelfTeacher


def frskd(**how: object) -> FRSKD:
    return seeded(lambda: toy_dense_frskd(AT(weight=50.0), **how).double())  # type: ignore[return-value]


def looked_at(image: Tensor) -> list[float]:
    """phi of a map (C, H, W), position by position: the mean over channels of squares, of length 1."""
    channels, height, width = image.shape
    values = image.tolist()
    means = [
        sum(values[c][i][j] ** 2 for c in range(channels)) / channels
        for i in range(height)
        for j in range(width)
    ]
    length = math.sqrt(sum(m * m for m in means))
    return [m / length for m in means]


def counted(y: Tensor) -> list[tuple[int, int, int]]:
    """The places of a mask that count."""
    places = torch.nonzero(y != IGNORED).tolist()
    return [(image, row, column) for image, row, column in places]


def row_of(logits: Tensor, place: tuple[int, int, int]) -> list[float]:
    image, row, column = place
    return logits[image, :, row, column].tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(("reading", "temperature"), [("code", 1.0), ("code", 4.0), ("paper", 4.0)])
def test_equation_5_against_a_loop_over_the_pixels(reading: str, temperature: float) -> None:
    method = frskd(alpha=1.5, temperature=temperature, soft_labels=reading).eval()
    data = batch_of_masks(3, torch.float64)
    found = method(data)
    student, teacher = method.outputs(data.x)
    assert student.logits.shape == teacher.logits.shape == (3, CLASSES, SIZE, SIZE)
    places = counted(data.y)
    assert 0 < len(places) < data.y.numel()
    divergence, ce = 0.0, {"ce": 0.0, "ce_self_teacher": 0.0}
    for place in places:
        s, t = row_of(student.logits, place), row_of(teacher.logits, place)
        one, two = (t, s) if reading == "code" else (s, t)
        divergence += kl(one, two, temperature) / len(places)
        for name, row in (("ce", s), ("ce_self_teacher", t)):
            ce[name] -= math.log(softmax(row)[data.y[place].item()]) / len(places)
    scale = temperature**2 if reading == "code" else 1.0
    assert found["kd"].item() == pytest.approx(1.5 * scale * divergence, rel=1e-9)
    for name, value in ce.items():
        assert found[name].item() == pytest.approx(value, rel=1e-9)
    feature = 0.0
    for ours, theirs in zip(student.stages, teacher.stages, strict=True):
        pairs = [(looked_at(a), looked_at(b)) for a, b in zip(ours, theirs, strict=True)]
        squares = [(x - y) ** 2 for a, b in pairs for x, y in zip(a, b, strict=True)]
        feature += sum(squares) / len(squares)  # the mean over images and places, as in the authors' code
    assert found["feature"].item() == pytest.approx(50.0 * feature, rel=1e-9)


@pytest.mark.parametrize("loss", [softened_kl, printed_kl])
def test_an_ignored_pixel_moves_nothing(loss: object) -> None:
    """Exactly 0, whatever stands there, in the KL and in the cross-entropy."""
    y = batch_of_masks(3).y
    student = torch.randn(3, CLASSES, SIZE, SIZE, requires_grad=True)
    teacher = torch.randn(3, CLASSES, SIZE, SIZE)
    kept = y != IGNORED
    value = loss(student, teacher, 2.0, kept) + cross_entropy(student, y)  # type: ignore[operator]
    (gradient,) = torch.autograd.grad(value, student)
    still = gradient.abs().sum(dim=1)
    assert (still[~kept] == 0).all()
    assert (still[kept] > 0).all()
    teacher.masked_fill_(~kept.unsqueeze(1), 1e4)
    again = loss(student, teacher, 2.0, kept) + cross_entropy(student, y)  # type: ignore[operator]
    assert again.item() == value.item()


def test_a_batch_without_a_label_teaches_nothing() -> None:
    method = frskd(alpha=1.0)
    data = batch_of_masks(3, torch.float64)
    found = method(data._replace(y=torch.full_like(data.y, IGNORED)))
    assert [found[name].item() for name in ("ce", "ce_self_teacher", "kd")] == [0, 0, 0]


# ---------------------------------------------------------------- who learns


def reached(method: FRSKD, value: Tensor) -> set[str]:
    """Parts of the method that a loss has a gradient in; autograd says None elsewhere."""
    names, parameters = zip(*method.named_parameters(), strict=True)
    found = torch.autograd.grad(value, parameters, allow_unused=True, retain_graph=True)
    return {".".join(n.split(".")[:2]) for n, g in zip(names, found, strict=True) if g is not None}


def test_the_classifier_alone_learns_from_the_self_teacher() -> None:
    method = frskd(alpha=1.0)
    found = method(batch_of_masks(4, torch.float64))
    network = {"network.backbone", "network.pyramid", "network.head"}
    own = {"self_teacher.pyramid", "self_teacher.head"}
    assert reached(method, found["ce"]) == network
    assert reached(method, found["kd"]) == network
    assert reached(method, found["feature"]) == network - {"network.head"}
    # The maps that the self-teacher reads are not detached: its labels teach the backbone too.
    assert reached(method, found["ce_self_teacher"]) == own | network - {"network.head"}


def test_every_parameter_of_the_self_teacher_learns() -> None:
    method = frskd()
    method(batch_of_masks(4, torch.float64))["ce_self_teacher"].backward()
    assert [n for n, p in method.self_teacher.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize(("progress", "rise"), [(0.0, 0.0), (0.66, 0.0), (0.75, 0.25), (1.0, 1.0)])
def test_silent_for_40_of_60_epochs_then_rising(progress: float, rise: float) -> None:
    method = frskd(alpha=1.0, start=2 / 3, ramp=1 / 3)
    steady = frskd(alpha=1.0)
    data = batch_of_masks(3, torch.float64)._replace(progress=torch.tensor(progress, dtype=torch.float64))
    found, full = method.eval()(data), steady.eval()(data)
    factor = math.exp(-5 * (1 - rise) ** 2) if progress > 2 / 3 else 0.0
    for name in ("kd", "feature"):
        assert found[name].item() == pytest.approx(factor * full[name].item(), rel=1e-6)


# ---------------------------------------------------------------- the self-teacher


def test_the_prediction_of_the_self_teacher_is_that_of_every_pixel() -> None:
    method = frskd().eval()
    x = batch_of_masks(3, torch.float64).x
    predictors, readouts = method.predictors(), method.readouts(x)
    assert list(predictors) == list(readouts) == ["network", "self_teacher"]
    for name, predictor in predictors.items():
        assert torch.equal(predictor(x), readouts[name])
        assert readouts[name].shape == (3, CLASSES, SIZE, SIZE)


class Coarse(nn.Module):
    """A self-teacher whose logits are the smaller map."""

    def forward(self, stages: tuple[Tensor, ...]) -> Output:
        return Output(stages[1][:, :CLASSES], None, stages)


def test_logits_of_a_smaller_map_are_enlarged() -> None:
    method = FRSKD(toy_dense().eval(), Coarse(), None)
    data = batch_of_masks(2)
    student, teacher = method.outputs(data.x)
    small = student.stages[1][:, :CLASSES]
    assert small.shape[2:] != (SIZE, SIZE)
    large = nn.functional.interpolate(small, (SIZE, SIZE), mode="bilinear", align_corners=False)
    assert torch.equal(teacher.logits, large)


def test_a_self_teacher_for_other_labels_is_refused() -> None:
    """Both ways round, with what to make it by."""
    data = batch_of_masks(2)
    images, pixels = (kind((8, 8, 8), (8, 8, 8), CLASSES) for kind in (SelfTeacher, DenseSelfTeacher))
    message = (
        rf"logits \(2, {CLASSES}, {SIZE}, {SIZE}\) of the network and \(2, {CLASSES}\) of the self-teacher; "
        r"make it by DenseSelfTeacher\.of for a network that predicts every pixel"
    )
    with pytest.raises(ValueError, match=message):
        FRSKD(toy_dense(), images, None)(data)
    with pytest.raises(ValueError, match=r"SelfTeacher\.of for one that predicts whole images"):
        FRSKD(toy(), pixels, None)(batch(2))


def test_start_and_ramp_are_shares_of_one_run() -> None:
    """With what is left for the ramp, which is taken."""
    message = r"at most 1 together, got 0\.8 and 0\.3333; give ramp 0\.2 or less$"
    with pytest.raises(ValueError, match=message):
        toy_dense_frskd(None, start=0.8, ramp=1 / 3)
    assert toy_dense_frskd(None, start=0.8, ramp=0.2).ramp == 0.2


def test_a_self_teacher_reads_the_maps_that_it_was_made_for() -> None:
    teacher = DenseSelfTeacher((8, 8), (8, 8), CLASSES)
    maps = [torch.randn(2, channels, 8 // 2**i, 8 // 2**i) for i, channels in enumerate((6, 8, 8))]
    assert teacher(maps).logits.shape == (2, CLASSES, 4, 4), "the two deepest"
    with pytest.raises(ValueError, match=r"refines stages of channels \(8, 8\), got \(6, 8\)"):
        teacher(maps[:2])


def test_a_network_of_one_level_is_refused() -> None:
    output = Output(torch.zeros(2, 3, 8, 8), None, (torch.zeros(2, 4, 8, 8),))
    with pytest.raises(ValueError, match=r"the self-teacher refines 2 or more stages, the network shows 1"):
        DenseSelfTeacher.of(output, 3)


@pytest.mark.parametrize(
    ("options", "widths"), [({}, (4, 6)), ({"width": 2.0}, (8, 12)), ({"pyramid": "bifpn"}, (6, 6))]
)
def test_widths_of_a_self_teacher(options: dict[str, object], widths: tuple[int, ...]) -> None:
    """w = 1: the channels do not change; then no level has a lateral."""
    output = Output(torch.zeros(2, 3, 8, 8), None, (torch.zeros(2, 4, 8, 8), torch.zeros(2, 6, 4, 4)))
    teacher = DenseSelfTeacher.of(output, 3, **options)  # type: ignore[arg-type]
    assert (teacher.widths, len(teacher.pyramid.layers)) == (widths, 2)
    entries = teacher.pyramid.layers[0].lateral  # type: ignore[union-attr]
    assert [any(True for _ in entry.parameters()) for entry in entries] == [  # type: ignore[union-attr]
        one != two for one, two in zip((4, 6), widths, strict=True)
    ]


# ---------------------------------------------------------------- it learns


def bars(images: int, seed: int) -> Batch:
    """Noise with a bar, horizontal and green or vertical and red; the first row is ignored."""
    generator = torch.Generator().manual_seed(seed)
    x = 0.3 * torch.randn(images, 3, SIZE, SIZE, generator=generator)
    y = torch.zeros(images, SIZE, SIZE, dtype=torch.int64)
    for i in range(images):
        at = int(torch.randint(2, SIZE - 5, (), generator=generator))
        bar = slice(at, at + 4)
        where = (bar, slice(None)) if i % 2 else (slice(None), bar)
        x[i, i % 2][where] += 2.0
        y[i][where] = 1 + i % 2
    y[:, :1] = IGNORED
    return Batch((x,), y, progress=torch.tensor(1.0))


def test_it_learns_in_seconds() -> None:
    method = seeded(lambda: toy_dense_frskd(AT(weight=50.0), alpha=1.0))
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1, momentum=0.9)
    data, unseen = bars(12, 0), bars(8, 1)
    for step in range(40):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 40)
        optimizer.zero_grad()
        sum(method(data).values()).backward()
        optimizer.step()
    kept = unseen.y != IGNORED
    most = torch.bincount(unseen.y[kept]).max().item() / int(kept.sum())
    for name, logits in method.eval().readouts(unseen.x).items():
        right = (logits.argmax(dim=1) == unseen.y)[kept].double().mean().item()
        assert right > 0.3 * most + 0.7, name
