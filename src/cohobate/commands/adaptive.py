"""``cohobate evaluate RUN --adaptive``: sample-adaptive inference with the sum that a run deployed.

ResKD (Li et al., 2021), section III-C. The threshold is chosen on D_v, images of the run's training or
validation split; then S_0, every prefix of the sum, the cascade and the teacher are measured side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from ..analysis.cost import Cost, cost
from ..config.one_of import check_word
from ..core import Sum, as_output
from ..data.loaders import eval_loader
from ..data.raw import spread
from ..engine.evaluate import autocast, evaluating, predictions
from ..inference.cascade import Cascade
from ..inference.search import Point
from ..inference.thresholds import curve, point
from ..recipes.networks import rebuilt, require_sum
from ..report.files import run_files
from ..runs.adaptive import Adaptive, Member, Reading, Row, Timing, TradeOff, write_adaptive
from ..runs.deployed import BY_PLAN, StoredThreshold, store_threshold
from ..runs.folder import write_files
from ..runs.reading import read_run
from .cascading import left
from .choice import Chosen, Wish, check_choice, choose
from .feeds import split_loader
from .prefixes import Seen, dv_of, members, ordered, predicted
from .run_teacher import RunTeacher, teacher_of
from .subject import On, Opened, Part, Shown, Weights, opened, own_images, shown
from .timing import times

TIMED, TIMED_BATCH = (64, 512), 128
"""Images of which the time is measured, at least and at most, and of a batch."""
TIMED_MACS = 2.5e11
"""Multiply-accumulates of all networks together that one round of the timing takes about at most."""


class Measured(NamedTuple):
    """A network on the images measured: accuracy in percent, mean cost of an image, where images leave."""

    network: nn.Module
    accuracy: float
    macs: float
    exits: tuple[float, ...] = ()


def evaluate_adaptive(
    path: Path,
    split: Part | None = None,
    weights: Weights = "last",
    on: On | None = None,
    wish: Wish | None = None,
    energy: Reading | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> Adaptive:
    """Choose a threshold, store it with the deployed network, and measure the cascade beside other networks.

    ``adaptive.json`` and the page of the run are written.

    Args:
        path, split, weights, on: as in :func:`cohobate.commands.evaluate.evaluate_run`.
        wish: what the threshold shall be, or do.
        energy: what is compared with it; by default that of the stored threshold, else the energy of the sum.
        say: prints a line: notes, and what was stored.

    Raises:
        FileNotFoundError: there is no such folder, or no such data.
        ValueError: the deployed network is no sum, there are several wishes, one that no threshold meets, or
            one that needs images of the run which are not there; or as ``evaluate_run``.
        RunError: the run has not finished, was made from Python, or its network diverged.
    """
    if energy is not None:
        check_word("energy", energy, Reading)
    wish = wish or Wish()
    wish.check()
    of = opened(path, weights)
    require_sum(of.deployed, "leave out --adaptive")
    stored = of.deployed.threshold
    seen = shown(of, split, on or On(), say)
    dataset = seen.dataset if seen.own else own_images(of, say)
    check_choice(wish, energy, stored, images=dataset is not None, where=of.config.data)
    dv = None if dataset is None else dv_of(of, dataset)
    network = rebuilt(of.deployed).to(seen.device)
    with evaluating(network):
        costs = [cost(member, of.deployed.shape) for member in members(network)]
        macs = [each.macs for each in costs]
        on_dv = None if dv is None else predicted(network, of, *dv.images, seen.device)
        chosen = choose(wish, energy, stored, on_dv, macs)
        measured = seen.images, seen.dataset, seen.order
        sums = predicted(network, of, *measured, seen.device)
        teacher = teacher_of(of, seen.dataset, say)
        beside, moved = _beside(network, of, seen, chosen, macs, sums, teacher)
        taken, timing = _timed(beside, of, seen)
    adaptive = Adaptive(
        weights=weights,
        data=seen.dataset.name,
        split=seen.split,
        images=len(seen.images),
        threshold=chosen.threshold,
        rule=chosen.rule or BY_PLAN,
        energy=chosen.energy,
        chosen_on=None if dv is None else dv.facts,
        networks=tuple(_listed(of, costs, teacher)),
        no_teacher=teacher.missing,
        rows=tuple(_rows(beside, taken, macs)),
        timing=timing,
        on_chosen=None if on_dv is None else _at(chosen, on_dv, macs),
        curve_chosen=() if on_dv is None else _curve(on_dv, macs, chosen),
        curve_measured=_curve(sums, macs, chosen),
        moved=moved,
        same_images=seen.own and dv is not None and dv.facts.split == seen.split,
    )
    if chosen.anew:
        anew = StoredThreshold(chosen.threshold, chosen.energy, adaptive.rule)
        store_threshold(of.deployed, anew)
        say(f"stored in {of.deployed.path}: threshold {anew}; before: {stored or 'none'}")
    write_adaptive(path, adaptive)
    write_files(path, run_files(read_run(path)))
    return adaptive


def _beside(
    network: nn.Module,
    of: Opened,
    seen: Shown,
    chosen: Chosen,
    macs: Sequence[int],
    sums: Seen,
    teacher: RunTeacher,
) -> tuple[dict[str, Measured], int]:
    """S_0, every prefix, the sum, the cascade, the teacher; how many images rounding moved in the cascade."""
    parts, so_far = members(network), list(accumulate(macs))
    beside = {
        f"S_{i}": Measured(Sum(parts[: i + 1]) if i else parts[0], sums.accuracy(logits), so_far[i])
        for i, logits in enumerate(sums.logits)
    }
    cascade = Cascade(parts, chosen.threshold, energy=chosen.energy).eval()
    loader = partial(split_loader, seen.images, seen.dataset, seen.device, of.config.workers)
    ran = left(cascade, loader(), seen.device, of.config.precision, seen.order, sums.logits)
    spent = sum(share * cost_ for share, cost_ in zip(ran.shares, so_far, strict=True))
    beside["adaptive"] = Measured(cascade, sums.accuracy(ran.logits), spent, ran.shares)
    if teacher.network is not None:
        taught = teacher.network.to(seen.device)
        with evaluating(taught):
            found = predictions(
                lambda x: {"T": ordered(as_output(taught(x)).logits, seen.order)},
                loader(),
                seen.device,
                of.config.precision,
            )
            logits = torch.cat([each["T"].float().cpu() for _, each in found])
        spent = cost(taught, of.deployed.shape).macs
        beside["teacher"] = Measured(taught, sums.accuracy(logits), spent)
    return beside, ran.moved


# ---------------------------------------------------------------- the record


def _timed(beside: Mapping[str, Measured], of: Opened, seen: Shown) -> tuple[dict[str, float], Timing]:
    """Milliseconds of an image in each network, on images evenly spaced in the split."""
    least, most = TIMED
    affordable = int(TIMED_MACS / sum(each.macs for each in beside.values()))
    wanted = min(len(seen.images), max(least, min(most, affordable)))
    rows = torch.tensor(spread(len(seen.images), wanted))
    size = min(TIMED_BATCH, wanted)
    loader = eval_loader(
        seen.images.subset(rows), seen.dataset, batch_size=size, device=seen.device, workers=of.config.workers
    )
    batches = [batch.x for batch in loader.epoch(0)]
    within = partial(autocast, seen.device, of.config.precision)
    found = times({name: each.network for name, each in beside.items()}, batches, within)
    name = torch.cuda.get_device_name(seen.device) if seen.device.type == "cuda" else seen.device.type
    return found.milliseconds, Timing(
        device=name,
        threads=torch.get_num_threads(),
        precision=of.config.precision,
        images=wanted,
        batch_size=size,
        rounds=found.rounds,
    )


def _listed(of: Opened, costs: Sequence[Cost], teacher: RunTeacher) -> Iterator[Member]:
    """The networks with their sizes."""
    for i, (model, spent) in enumerate(zip(of.deployed.members, costs, strict=True)):
        name = f"R_{i}" if i else "S_0"
        yield Member(name=name, model=model, parameters=spent.parameters, macs=spent.macs)
    if teacher.network is not None:
        spent = cost(teacher.network, of.deployed.shape)
        yield Member(name="teacher", model=teacher.name, parameters=spent.parameters, macs=spent.macs)


def _rows(beside: Mapping[str, Measured], taken: Mapping[str, float], macs: Sequence[int]) -> Iterator[Row]:
    taught = beside.get("teacher")
    for name, each in beside.items():
        yield Row(
            name=name,
            accuracy=each.accuracy,
            error=100 - each.accuracy,
            macs=each.macs,
            percent_of_sum=100 * each.macs / sum(macs),
            percent_of_teacher=None if taught is None else 100 * each.macs / taught.macs,
            milliseconds=taken[name],
            exits=each.exits,
        )


def _trade_off(at: Point) -> TradeOff:
    return TradeOff(**at._asdict())


def _at(chosen: Chosen, seen: Seen, macs: Sequence[int]) -> TradeOff:
    return _trade_off(point(*seen, macs, chosen.threshold, energy=chosen.energy))


def _curve(seen: Seen, macs: Sequence[int], chosen: Chosen) -> tuple[TradeOff, ...]:
    return tuple(map(_trade_off, curve(*seen, macs, energy=chosen.energy)))
