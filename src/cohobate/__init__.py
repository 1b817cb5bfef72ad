"""Cohobate: knowledge distillation of vision networks.

The public names load their rooms on first use, so that ``import cohobate`` does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .analysis.cost import Cost as Cost
    from .analysis.cost import cost as cost
    from .analysis.diversity import disagreement as disagreement
    from .analysis.diversity import interrater_agreement as interrater_agreement
    from .analysis.diversity import q_statistic as q_statistic
    from .core import Batch as Batch
    from .core import Classifier as Classifier
    from .core import Frozen as Frozen
    from .core import Gate as Gate
    from .core import Group as Group
    from .core import Mean as Mean
    from .core import Method as Method
    from .core import Output as Output
    from .core import Phase as Phase
    from .core import Plan as Plan
    from .core import Separate as Separate
    from .core import Term as Term
    from .data.dataset import hold_out as hold_out
    from .data.mixing import cutmix as cutmix
    from .data.mixing import mixup as mixup
    from .data.sources import arrays as arrays
    from .data.sources import load as load_data  # noqa: F401
    from .methods.at import AT as AT
    from .methods.byot import BYOT as BYOT
    from .methods.byot_exits import exits_of as exits_of
    from .methods.cl_ilr import CLILR as CLILR
    from .methods.crd import CRD as CRD
    from .methods.cs_kd import CSKD as CSKD
    from .methods.ddgsd import DDGSD as DDGSD
    from .methods.dgkd import DGKD as DGKD
    from .methods.dist import DIST as DIST
    from .methods.distillation import Distillation as Distillation
    from .methods.dkd import DKD as DKD
    from .methods.dml import DML as DML
    from .methods.ffm_cd import Diversified as Diversified
    from .methods.ffm_cd import FeatureFusion as FeatureFusion
    from .methods.ffm_cd import matched_gamma as matched_gamma
    from .methods.fitnet import FitNet as FitNet
    from .methods.fitnet import Hints as Hints
    from .methods.fitnet import HintTraining as HintTraining
    from .methods.frskd import FRSKD as FRSKD
    from .methods.frskd import AttentionNorm as AttentionNorm
    from .methods.frskd_sla import FRSKDSLA as FRSKDSLA
    from .methods.kd import KD as KD
    from .methods.kd import softened_kl as softened_kl
    from .methods.logit_standardisation import Standardised as Standardised
    from .methods.ofd import OFD as OFD
    from .methods.okddip import SelfAttention as SelfAttention
    from .methods.okddip import TwoLevel as TwoLevel
    from .methods.one import ONE as ONE
    from .methods.one import BranchGate as BranchGate
    from .methods.reviewkd import ReviewKD as ReviewKD
    from .methods.rkd import RKD as RKD
    from .methods.sad import SAD as SAD
    from .methods.self_guidance import SelfGuidance as SelfGuidance
    from .methods.sla import SLASD as SLASD
    from .methods.slkd import SLKD as SLKD
    from .methods.slkd_sequential import Guided as Guided
    from .methods.slkd_sequential import SelfLearning as SelfLearning
    from .methods.slkd_sequential import SLKDInTurns as SLKDInTurns
    from .methods.sp import SP as SP
    from .methods.stochastic_depth import StochasticDepth as StochasticDepth
    from .methods.supervised import Supervised as Supervised
    from .models.adapt import adapt as adapt
    from .models.bifpn import SelfTeacher as SelfTeacher
    from .models.branch import branch as branch
    from .models.build import build as build
    from .models.checkpoints import load_weights as load_weights
    from .recipes.compare import compare as compare
    from .recipes.job import load as load
    from .recipes.run import Result as Result
    from .recipes.run import fit as fit
    from .recipes.run import train as train
    from .recipes.sweep import sweep as sweep
    from .recipes.terms import make_terms as make_terms
    from .recipes.training import Training as Training

_HOMES = {
    "analysis.cost": ("Cost", "cost"),
    "analysis.diversity": ("disagreement", "interrater_agreement", "q_statistic"),
    "core": (
        *("Batch", "Classifier", "Frozen", "Gate", "Group", "Mean", "Method", "Output", "Phase", "Plan"),
        *("Separate", "Term"),
    ),
    "data.dataset": ("hold_out",),
    "data.mixing": ("cutmix", "mixup"),
    "data.sources": ("arrays", "load_data"),
    "methods.at": ("AT",),
    "methods.byot": ("BYOT",),
    "methods.byot_exits": ("exits_of",),
    "methods.cl_ilr": ("CLILR",),
    "methods.crd": ("CRD",),
    "methods.cs_kd": ("CSKD",),
    "methods.ddgsd": ("DDGSD",),
    "methods.dgkd": ("DGKD",),
    "methods.dist": ("DIST",),
    "methods.dkd": ("DKD",),
    "methods.dml": ("DML",),
    "methods.ffm_cd": ("Diversified", "FeatureFusion", "matched_gamma"),
    "methods.fitnet": ("FitNet", "HintTraining", "Hints"),
    "methods.frskd": ("FRSKD", "AttentionNorm"),
    "methods.frskd_sla": ("FRSKDSLA",),
    "methods.logit_standardisation": ("Standardised",),
    "methods.ofd": ("OFD",),
    "methods.okddip": ("SelfAttention", "TwoLevel"),
    "methods.one": ("ONE", "BranchGate"),
    "methods.reviewkd": ("ReviewKD",),
    "methods.rkd": ("RKD",),
    "methods.sad": ("SAD",),
    "methods.sla": ("SLASD",),
    "methods.slkd": ("SLKD",),
    "methods.slkd_sequential": ("Guided", "SelfLearning", "SLKDInTurns"),
    "methods.sp": ("SP",),
    "recipes.terms": ("make_terms",),
    "methods.distillation": ("Distillation",),
    "methods.kd": ("KD", "softened_kl"),
    "methods.self_guidance": ("SelfGuidance",),
    "methods.stochastic_depth": ("StochasticDepth",),
    "methods.supervised": ("Supervised",),
    "models.adapt": ("adapt",),
    "models.bifpn": ("SelfTeacher",),
    "models.branch": ("branch",),
    "models.build": ("build",),
    "models.checkpoints": ("load_weights",),
    "recipes.compare": ("compare",),
    "recipes.job": ("load",),
    "recipes.run": ("Result", "fit", "train"),
    "recipes.sweep": ("sweep",),
    "recipes.training": ("Training",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
_INSIDE = {"load_data": "load"}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'cohobate' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), _INSIDE.get(name, name))


def __dir__() -> list[str]:
    return __all__
