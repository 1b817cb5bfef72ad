"""The methods that learn from masks, on toy networks that predict every pixel, and toy scenes."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from zoo import CLASSES, SIZE, Case, batch, toy, toy_images, toy_wide, trainer

from cohobate.core import IGNORED, Batch, Frozen, Method, Separate, Term
from cohobate.data.dataset import Dataset
from cohobate.data.scenes import VOID, Coding, Scenes
from cohobate.engine.loop import Trainer
from cohobate.engine.signals import Stopper
from cohobate.methods.at import AT
from cohobate.methods.cwd import CWD
from cohobate.methods.dgkd import DGKD
from cohobate.methods.dist import DIST
from cohobate.methods.distillation import Distillation
from cohobate.methods.dkd import DKD
from cohobate.methods.dml import DML
from cohobate.methods.fitnet import FitNet, HintTraining
from cohobate.methods.frskd import FRSKD
from cohobate.methods.hard_label import HardLabel
from cohobate.methods.kd import KD
from cohobate.methods.l2 import L2
from cohobate.methods.logit_standardisation import Standardised
from cohobate.methods.reviewkd import ReviewKD
from cohobate.methods.sad import SAD
from cohobate.methods.self_guidance import SelfGuidance
from cohobate.methods.slkd import SLKD
from cohobate.methods.slkd_sequential import SLKDInTurns
from cohobate.methods.sp import SP
from cohobate.methods.stochastic_depth import StochasticDepth
from cohobate.methods.supervised import Supervised
from cohobate.models.dense.network import DenseNetwork
from cohobate.models.dense.self_teacher import DenseSelfTeacher

SHAPE = (3, SIZE, SIZE)


def toy_dense() -> nn.Module:
    """Maps of 8 channels at three levels."""
    return DenseNetwork.of(toy(), CLASSES, SHAPE, width=8, layers=1)


def toy_dense_stacked() -> nn.Module:
    """Of two layers, of which the first has both paths and the second the top-down path alone."""
    return DenseNetwork.of(toy(), CLASSES, SHAPE, width=8, layers=2)


def toy_dense_wide() -> nn.Module:
    """Maps of 12 channels."""
    return DenseNetwork.of(toy_wide(), CLASSES, SHAPE, width=12, layers=1)


def behind_the_hint(name: str) -> bool:
    """Whether a parameter of the toy student lies behind the middle level of its pyramid."""
    layer = "student.pyramid.layers.0"
    return name.startswith((f"{layer}.lateral.0", f"{layer}.top_down.0", "student.head"))


def taught(make: Callable[[], Term]) -> Case:
    """One term between a narrow and a wide network."""

    def made() -> Method:
        return Distillation(toy_dense(), Frozen(toy_dense_wide()), {"term": make()}, ce_weight=1.0)

    return Case(made, toy_dense, masks=True)


def alone(make: Callable[[], Method], *ensembles: str, network: Callable[[], nn.Module] = toy_dense) -> Case:
    return Case(make, network, ensembles=ensembles, masks=True)


def peers(count: int) -> Separate:
    return Separate([toy_dense() for _ in range(count)])


def toy_dense_frskd(feature: Term | None, network: Callable[[], nn.Module] = toy_dense, **how: Any) -> FRSKD:
    teacher = DenseSelfTeacher((8, 8, 8), (8, 8, 8), CLASSES, layers=2)
    return FRSKD(network(), teacher, feature, **how)


WIDTHS = (8, 8, 8), (12, 12, 12)

DENSE: dict[str, Case] = {
    "baseline of masks": alone(lambda: Supervised(toy_dense())),
    "kd of masks": taught(KD),
    "l2 of masks": taught(L2),
    "standardised_kd of masks": taught(lambda: Standardised(KD(temperature=2.0, weight=9.0))),
    "dkd of masks": taught(DKD),
    "dist of masks": taught(DIST),
    "hard of masks": taught(HardLabel),
    "fitnet of masks": taught(lambda: FitNet(8, 12)),
    "at of masks": taught(AT),
    "sp of masks": taught(lambda: SP(weight=30.0)),
    "reviewkd of masks": taught(lambda: ReviewKD(*WIDTHS, mid_channels=8)),
    "cwd of masks": taught(lambda: CWD(None)),
    "cwd of stages": taught(lambda: CWD([(8, 12)] * 3)),
    "fitnet_stages of masks, the first": Case(
        lambda: HintTraining(toy_dense(), toy_dense_wide(), FitNet(8, 12)),
        toy_dense,
        idle=tuple(n for n, _ in toy_dense().named_parameters(prefix="student") if behind_the_hint(n)),
        masks=True,
    ),
    "dgkd of masks": alone(lambda: DGKD(toy_dense(), [toy_dense_wide(), toy_dense()], drop=0.5)),
    "slkd of masks": alone(lambda: SLKD(toy_dense(), toy_dense(), [toy_dense(), toy_dense()]), "sl_fused"),
    "slkd of masks in turns": alone(
        lambda: SLKDInTurns(SLKD(toy_dense(), toy_dense(), [toy_dense(), toy_dense()])), "sl_fused"
    ),
    "stochastic_depth of masks": alone(lambda: StochasticDepth(toy_dense())),
    "self_guidance of masks": alone(lambda: SelfGuidance(toy_dense())),
    "dml of masks": alone(lambda: DML(Separate([toy_dense(), toy_dense(), toy_dense()])), "ensemble"),
    "dml of masks in turns": alone(
        lambda: DML(Separate([toy_dense(), toy_dense()]), in_turns=True), "ensemble"
    ),
    "frskd of masks": alone(
        lambda: toy_dense_frskd(
            AT(weight=50.0), toy_dense_stacked, alpha=1.0, temperature=1.0, start=0.4, ramp=0.3
        ),
        "self_teacher",
        network=toy_dense_stacked,
    ),
    "frskd of masks as printed": alone(lambda: toy_dense_frskd(None, soft_labels="paper"), "self_teacher"),
    "sad of masks": alone(lambda: SAD(toy_dense(), start=0.5)),
}

COMPILED_DENSE = (
    "dkd of masks",  # the class of each position, of which an ignored one has none
    "dist of masks",  # correlations over the kept positions
    "standardised_kd of masks",  # logits on one scale, and the mean over the kept positions
    "hard of masks",  # the class that the teacher says, and the cross-entropy of every method
    "cwd of masks",  # a softmax over the kept positions
    "cwd of stages",  # a layer of the term's own
    "slkd of masks in turns",  # several networks, and a graph for each turn
    "dml of masks",  # peers that are each other's teachers
    "self_guidance of masks",  # two passes of one network, with gates
    "frskd of masks",  # stacked layers, the self-teacher's too
)
"""Cases that are compiled: each loss that treats masks in a way of its own, and each way of passing a dense
network. The others would compile the same network, with terms that are compiled on images with one label."""


def batch_of_masks(
    images: int = 16, dtype: torch.dtype = torch.float32, device: str = "cpu", share: float = 0.25
) -> Batch:
    """The images of :func:`zoo.batch` with masks; a share of the pixels is ignored, and one whole image."""
    generator = torch.Generator().manual_seed(1)
    y = torch.randint(CLASSES, (images, SIZE, SIZE), generator=generator)
    y[torch.rand(y.shape, generator=generator) < share] = IGNORED
    y[1] = IGNORED
    return batch(images, dtype, device)._replace(y=y.to(device))


def data(case: Case, **how: Any) -> Batch:
    return batch_of_masks(**how) if case.masks else batch(**how)


def trainer_of(
    case: Case, method: Method, folder: Path, stopper: Stopper | None = None, **settings: Any
) -> Trainer:
    """The engine's trainer of one phase on the data that the case learns from."""
    return trainer(method, folder, stopper, toy_scenes() if case.masks else None, **settings)


@cache
def toy_scenes(images: int = 80) -> Dataset:
    """Noise with a bright bar, whose class is its place: PNG files with masks, one corner void."""
    folder = Path(tempfile.mkdtemp(prefix="toy-scenes-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    coding = Coding({**{k: k for k in range(CLASSES)}, VOID: VOID})

    def split(name: str, count: int, seed: int) -> Scenes:
        x, y = toy_images(count, seed)
        files: list[tuple[Path, Path]] = []
        for i, (picture, label) in enumerate(zip(x.numpy(), y.tolist(), strict=True)):
            mask = np.zeros((SIZE, SIZE), np.uint8)
            mask[label : label + 3] = label
            mask[:2, :2] = VOID
            files.append((folder / f"{name}-{i}.png", folder / f"{name}-{i}-mask.png"))
            for pixels, file in zip((picture, mask), files[-1], strict=True):
                Image.fromarray(pixels).save(file, compress_level=0)
        pictures, masks = zip(*files, strict=True)
        return Scenes(pictures, masks, (SIZE, SIZE), coding)

    val, test = split("val", 40, 1), split("test", 40, 2)
    flat = (0.5, 0.5, 0.5)
    names = tuple(f"class {k}" for k in range(CLASSES))
    return Dataset(
        "toy scenes", names, split("train", images, 0), val, lambda: test, flat, flat, crop=0, flip=True
    )
