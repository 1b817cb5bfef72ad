"""What each term costs beside the student's training step, and beside torchdistill's term.

    OMP_NUM_THREADS=1 python benchmarks/terms.py [--pairs 20] [--only crd rkd] [--markdown]

A term is its forward and backward on given logits and features, those of WRN-40-2 and WRN-16-2 (fp32,
channels last) at 100 classes; the step is the student's alone, with cross-entropy and SGD. Step, ours
and theirs run in turn, so that a change of the machine's speed meets all of them. Printed: medians, the
term's share of the step, the median ratio to torchdistill with its 95 percent interval (order
statistics), and by how much the two values differ. Bar: the lower limit of each ratio at most 1.
`pip install torchdistill` for the comparison; without it ours only.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from copy import deepcopy
from math import ceil
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from pairs import median_interval, seconds
from torch import Tensor, nn

from cohobate.core import Batch, Output, Term, as_output
from cohobate.methods.at import AT
from cohobate.methods.crd import CRD
from cohobate.methods.dist import DIST
from cohobate.methods.dkd import DKD
from cohobate.methods.fitnet import FitNet
from cohobate.methods.kd import KD
from cohobate.methods.logit_standardisation import Standardised
from cohobate.methods.matching import channels, preact_pairs, stage_pairs
from cohobate.methods.ofd import OFD
from cohobate.methods.reviewkd import ReviewKD, hcl, level_pairs
from cohobate.methods.rkd import RKD
from cohobate.methods.sp import SP
from cohobate.models.build import build

CLASSES = 100
ROWS = 50_000
SHORTEST = 0.03
"""Seconds of one measurement at least: short terms are repeated."""

Loss = Callable[[], Tensor]
IO = dict[str, dict[str, Any]]


class Given(NamedTuple):
    """What both sides compute with; everything of the student wants a gradient."""

    student: Output
    teacher: Output
    batch: Batch


class Case(NamedTuple):
    """A term, and torchdistill's where it has one.

    Attributes:
        ours: the loss.
        theirs: the loss times ``factor`` is ours.
        factor: of theirs.
        modules: whose gradients are cleared.
        note: why the two values differ.
    """

    ours: Loss
    theirs: Loss | None = None
    factor: float = 1.0
    modules: tuple[nn.Module, ...] = ()
    note: str = ""


def peer() -> Any:
    """torchdistill's losses, or None."""
    try:
        return importlib.import_module("torchdistill.losses.mid_level")
    except ImportError:
        return None


def given(images: int, device: torch.device) -> tuple[Given, nn.Module]:
    """Features and labels, and the student."""
    torch.manual_seed(0)
    networks = [build(name, CLASSES).to(device) for name in ("wrn_16_2", "wrn_40_2")]
    student, teacher = (n.to(memory_format=torch.channels_last) for n in networks)  # type: ignore[call-overload]
    x = torch.randn(images, 3, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
    y = torch.randint(CLASSES, (images,), device=device)
    with torch.no_grad():
        seen, taught = as_output(student(x)), as_output(teacher.eval()(x))
    index = torch.randperm(ROWS, device=device)[:images]
    batch = Batch((x,), y, index, torch.ones((), device=device))
    return Given(Output(*map(_wanting, seen)), taught, batch), student


def _wanting(value: Any) -> Any:
    """Leaves of what an Output holds."""
    if isinstance(value, tuple):
        return tuple(map(_wanting, value))
    return value if value is None else value.detach().clone().requires_grad_()


def of(term: Term, data: Given) -> Loss:
    return lambda: term(data.student, data.teacher, data.batch)


def plain(term: Term, data: Given) -> Case:
    """A term that torchdistill does not have."""
    term = term.to(data.batch.x.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Case(of(term, data), modules=(term,))


def io(**values: Any) -> IO:
    """torchdistill's dictionary of what modules gave."""
    return {name: {"output": value} for name, value in values.items()}


def of_logits(term: Term, data: Given, loss: Any, factor: float = 1.0) -> Case:
    one, two = io(logits=data.student.logits), io(logits=data.teacher.logits)
    return Case(of(term, data), loss and (lambda: loss(one, two)), factor)


LOGITS = {"student_module_path": "logits", "student_module_io": "output"} | {
    "teacher_module_path": "logits",
    "teacher_module_io": "output",
}


def kd(data: Given, losses: Any) -> Case:
    # Without labels their loss is not multiplied by T^2.
    loss = losses and losses.KDLoss(**LOGITS, temperature=4.0, beta=1.0)
    return of_logits(KD(temperature=4.0), data, loss, 16.0)


def standardised(data: Given, losses: Any) -> Case:
    loss = losses and losses.LogitStdKDLoss(**LOGITS, temperature=2.0, beta=1.0)
    return of_logits(Standardised(KD(temperature=2.0)), data, loss, 4.0)


def dist(data: Given, losses: Any) -> Case:
    loss = losses and losses.DISTLoss(**LOGITS, beta=2.0, gamma=2.0, tau=4.0)
    return of_logits(DIST(inter=2.0, intra=2.0, temperature=4.0), data, loss)


def dkd(data: Given, losses: Any) -> Case:
    return plain(DKD(), data)


def at(data: Given, losses: Any) -> Case:
    ours = of(AT(), data)
    if losses is None:
        return Case(ours)
    names = [f"stage{i}" for i in range(len(data.student.stages))]
    one, two = (io(**dict(zip(names, o.stages, strict=True))) for o in (data.student, data.teacher))
    where = {n: {side: {"io": "output", "path": n} for side in ("student", "teacher")} for n in names}
    loss = losses.ATLoss(where)
    return Case(ours, lambda: loss(one, two))


def sp(data: Given, losses: Any) -> Case:
    ours = of(SP(), data)
    if losses is None:
        return Case(ours)
    loss = losses.SPKDLoss("maps", "maps", reduction="batchmean")
    one, two = io(maps=data.student.stages[-1]), io(maps=data.teacher.stages[-1])
    note = "torchdistill 1.1.5 divides the rows by their L1 norm (normalize(x, 1) is p=1), the paper by L2"
    return Case(ours, lambda: loss(one, two), note=note)


def rkd(data: Given, losses: Any) -> Case:
    ours = of(RKD(), data)
    if losses is None:
        return Case(ours)
    loss = losses.RKDLoss("pooled", "pooled", dist_factor=25.0, angle_factor=50.0, reduction="mean")
    one, two = io(pooled=data.student.pooled), io(pooled=data.teacher.pooled)
    return Case(ours, lambda: loss(one, two))


def fitnet(data: Given, losses: Any) -> Case:
    pairs = stage_pairs(data.student, data.teacher, "FitNet")
    inputs, outputs = channels([pairs[len(pairs) // 2]])
    return plain(FitNet(inputs[0], outputs[0]), data)


def ofd(data: Given, losses: Any) -> Case:
    inputs, outputs = channels(preact_pairs(data.student, data.teacher, "OFD"))
    return plain(OFD(inputs, outputs, [torch.full((c,), -0.5) for c in outputs]), data)


def reviewkd(data: Given, losses: Any) -> Case:
    return plain(ReviewKD(*channels(level_pairs(data.student, data.teacher))), data)


def context(data: Given, losses: Any) -> Case:
    """ReviewKD's loss without its fusions, of every stage."""
    pairs = stage_pairs(data.student, data.teacher, "HCL")

    def ours() -> Tensor:
        return torch.stack([hcl(s, t) for s, t in pairs]).sum()

    if losses is None:
        return Case(ours)
    loss = losses.HierarchicalContextLoss(
        **{**LOGITS, "student_module_path": "map", "teacher_module_path": "map"}
    )
    given = [(io(map=(s, None)), io(map=t)) for s, t in pairs]
    return Case(ours, lambda: torch.stack([loss(one, two) for one, two in given]).sum())


def crd(data: Given, losses: Any) -> Case:
    """Theirs is given its negatives, ours draws them."""
    assert data.student.pooled is not None
    assert data.teacher.pooled is not None
    labels = torch.arange(ROWS) % CLASSES
    term = CRD(data.student.pooled.shape[1], data.teacher.pooled.shape[1], labels).to(data.batch.x.device)
    if losses is None:
        return Case(of(term, data), modules=(term,))
    assert data.batch.index is not None
    torch.manual_seed(1)
    rows = term._rows(data.batch.index)
    torch.manual_seed(1)  # Ours draws the same in its first step, where the values are compared.
    wrapper = importlib.import_module("torchdistill.models.wrapper")
    copies = [deepcopy(m) for m in (term.student_embedding, term.teacher_embedding)]
    embed_one, embed_two = (wrapper.Normalizer4CRD(m, power=2) for m in copies)
    loss = losses.CRDLoss("norm", "rows", "norm", 128, ROWS, term.negatives, ROWS).to(data.batch.x.device)
    loss.memory_v1.copy_(term.student_bank[term.place])
    loss.memory_v2.copy_(term.teacher_bank[term.place])
    supplement = {"pos_idx": data.batch.index, "contrast_idx": term.place.argsort()[rows]}

    def theirs() -> Tensor:
        one = {**io(norm=embed_one(data.student.pooled)), "rows": {"input": supplement}}
        value: Tensor = loss(one, io(norm=embed_two(data.teacher.pooled))).sum()
        return value

    note = "torchdistill takes log(c / (c + p)), which loses the digits of a small p; ours is in log space"
    return Case(of(term, data), theirs, 1.0, (term, *copies), note)


CASES: dict[str, Callable[[Given, Any], Case]] = {
    "kd": kd,
    "fitnet": fitnet,
    "at": at,
    "sp": sp,
    "rkd": rkd,
    "ofd": ofd,
    "crd": crd,
    "reviewkd": reviewkd,
    "reviewkd's hcl": context,
    "dkd": dkd,
    "dist": dist,
    "standardised kd": standardised,
}


def leaves(data: Given) -> list[Tensor]:
    student = data.student
    every = [student.logits, student.pooled, *student.stages, *(student.preacts or ())]
    return [t for t in every if t is not None]


def passes(loss: Loss, case: Case, data: Given, times: int) -> Callable[[], None]:
    """Forward and backward, so many times."""
    cleared = [*leaves(data), *(p for m in case.modules for p in m.parameters())]

    def go() -> None:
        for _ in range(times):
            for tensor in cleared:
                tensor.grad = None
            loss().backward()

    return go


def training(student: nn.Module, batch: Batch) -> Callable[[], None]:
    """A step of the student alone."""
    optimizer = torch.optim.SGD(student.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)

    def step() -> None:
        student.train()
        F.cross_entropy(as_output(student(batch.x)).logits, batch.y).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


class Row(NamedTuple):
    """Milliseconds of one pass; share and ratio with their intervals."""

    name: str
    ours: float
    share: tuple[float, float, float]
    theirs: float | None
    ratio: tuple[float, float, float] | None
    differ: float | None
    step: float
    note: str


def measure(
    name: str, case: Case, data: Given, step: Callable[[], None], pairs: int, device: torch.device
) -> Row:
    differ = None
    if case.theirs is not None:
        one, two = case.ours().item(), case.factor * case.theirs().item()
        differ = abs(one - two) / abs(two)
    sides = [loss for loss in (case.ours, case.theirs) if loss is not None]
    runs, counts = [], []
    for loss in sides:
        once = passes(loss, case, data, 1)
        once()
        counts.append(ceil(SHORTEST / min(seconds(once, device) for _ in range(3))))
        runs.append(passes(loss, case, data, counts[-1]))
    step()
    times: list[list[float]] = []
    for i in range(pairs):
        # Which one comes first alternates.
        order = list(range(len(runs)))[:: 1 if i % 2 == 0 else -1]
        taken = {side: seconds(runs[side], device) / counts[side] for side in order}
        times.append([seconds(step, device), *(taken[side] for side in range(len(runs)))])
    steps, *terms = (list(column) for column in zip(*times, strict=True))
    middle = [1000 * statistics.median(column) for column in terms]
    share = median_interval([a / b for a, b in zip(terms[0], steps, strict=True)])
    ratio = median_interval([a / b for a, b in zip(*terms, strict=True)]) if len(terms) == 2 else None
    theirs = middle[1] if len(terms) == 2 else None
    return Row(name, middle[0], share, theirs, ratio, differ, 1000 * statistics.median(steps), case.note)


HEADS = ("term", "ours, ms", "of a step", "torchdistill, ms", "ours / torchdistill", "values differ")


def cells(row: Row) -> Sequence[str]:
    share = f"{100 * row.share[0]:.2f} % [{100 * row.share[1]:.2f}, {100 * row.share[2]:.2f}]"
    if row.theirs is None or row.ratio is None or row.differ is None:
        return row.name, f"{row.ours:.2f}", share, "", "", ""
    ratio = "{:.3f} [{:.3f}, {:.3f}]".format(*row.ratio)
    return row.name, f"{row.ours:.2f}", share, f"{row.theirs:.2f}", ratio, f"{row.differ:.0e}"


def show(row: Sequence[str], markdown: bool) -> None:
    if markdown:
        print("| " + " | ".join(row) + " |", flush=True)
    else:
        print("{:16}{:>9}  {:>22}{:>18}  {:>24}{:>15}".format(*row), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    where = torch.cuda.get_device_name() if device.type == "cuda" else platform.machine()
    losses = peer()
    print(
        f"wrn_40_2 -> wrn_16_2, batch {options.batch_size}, fp32 channels last, median of {options.pairs} "
        f"pairs; torch {torch.__version__}, {where}, {os.cpu_count()} cores, {torch.get_num_threads()} "
        "threads"
    )
    if losses is None:
        print("torchdistill is not installed (pip install torchdistill): ours only")
    data, student = given(options.batch_size, device)
    step = training(student, data.batch)
    show(HEADS, options.markdown)
    if options.markdown:
        show(["---"] * len(HEADS), True)
    rows = []
    for name in options.only:
        rows.append(measure(name, CASES[name](data, losses), data, step, options.pairs, device))
        show(cells(rows[-1]), options.markdown)
    for row in rows:
        if row.note:
            print(f"{row.name}: {row.note}")
    print(f"a step takes {statistics.median(row.step for row in rows):.1f} ms")


if __name__ == "__main__":
    main()
