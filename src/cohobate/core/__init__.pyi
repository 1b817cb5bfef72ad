"""The names of this room and their files; the package reads this file and loads each on first use."""

from .batch import IGNORED as IGNORED
from .batch import Batch as Batch
from .batch import Loader as Loader
from .gates import Gate as Gate
from .gates import fold as fold
from .gates import gate_names as gate_names
from .gates import run as run
from .method import Between as Between
from .method import Given as Given
from .method import Method as Method
from .method import Phase as Phase
from .method import Plan as Plan
from .method import Shape as Shape
from .method import Term as Term
from .metrics import TOP1_ERROR as TOP1_ERROR
from .metrics import Metric as Metric
from .networks import Classifier as Classifier
from .networks import Frozen as Frozen
from .networks import Group as Group
from .networks import Mean as Mean
from .networks import Output as Output
from .networks import Separate as Separate
from .networks import as_output as as_output
from .networks import keep_keys as keep_keys
from .numerics import cross_entropy as cross_entropy
from .numerics import float32 as float32
