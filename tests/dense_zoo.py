"""The methods that learn from masks, on toy networks that predict every pixel, and toy scenes."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from zoo import CLASSES, SIZE, Case, batch, toy, toy_images, toy_wide

from cohobate.core import IGNORED, Batch, Frozen, Output, Separate, Term
from cohobate.data.dataset import Dataset
from cohobate.data.scenes import VOID, Coding, Scenes
from cohobate.methods.at import AT
from cohobate.methods.cwd import CWD
from cohobate.methods.dgkd import DGKD
from cohobate.methods.dist import DIST
from cohobate.methods.distillation import Distillation
from cohobate.methods.dkd import DKD
from cohobate.methods.dml import DML
from cohobate.methods.fitnet import FitNet, HintTraining
from cohobate.methods.hard_label import HardLabel
from cohobate.methods.kd import KD
from cohobate.methods.l2 import L2
from cohobate.methods.logit_standardisation import Standardised
from cohobate.methods.ofd import OFD
from cohobate.methods.reviewkd import ReviewKD
from cohobate.methods.sad import SAD
from cohobate.methods.self_guidance import SelfGuidance
from cohobate.methods.slkd import SLKD
from cohobate.methods.slkd_sequential import Guided, SelfLearning, SLKDInTurns
from cohobate.methods.sp import SP
from cohobate.methods.stochastic_depth import StochasticDepth
from cohobate.methods.supervised import Supervised
from cohobate.models.dense.network import DenseNetwork
from cohobate.models.surgery.adapt import adapt

SHAPE = (3, SIZE, SIZE)


def toy_dense() -> nn.Module:
    """Maps of 8 channels at three levels."""
    return DenseNetwork.on(toy(), CLASSES, SHAPE, width=8, layers=1)


def toy_dense_wide() -> nn.Module:
    """Maps of 12 channels."""
    return DenseNetwork.on(toy_wide(), CLASSES, SHAPE, width=12, layers=1)


def taught(make: Callable[[], Term]) -> Case:
    """One term between a narrow and a wide network."""
    term = lambda: Distillation(toy_dense(), Frozen(toy_dense_wide()), {"term": make()}, ce_weight=1.0)  # noqa: E731
    return Case(term, toy_dense)


