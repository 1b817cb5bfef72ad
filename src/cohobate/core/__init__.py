"""The words that every room speaks: batch, output, term, method, phase, teacher, group, gate.

Only torch is imported here.
"""

from .batch import IGNORED, Batch, Loader
from .gates import Gate, fold, gate_names, run
from .method import Between, Given, Method, Phase, Plan, Shape, Term
from .metrics import TOP1_ERROR, Metric
from .networks import Classifier, Frozen, Group, Mean, Output, Separate, as_output, keep_keys
from .numerics import cross_entropy, float32

__all__ = [
    "IGNORED",
    "TOP1_ERROR",
    "Batch",
    "Between",
    "Classifier",
    "Frozen",
    "Gate",
    "Given",
    "Group",
    "Loader",
    "Mean",
    "Method",
    "Metric",
    "Output",
    "Phase",
    "Plan",
    "Separate",
    "Shape",
    "Term",
    "as_output",
    "cross_entropy",
    "float32",
    "fold",
    "gate_names",
    "keep_keys",
    "run",
]
