"""The words that every room speaks: batch, output, term, method, phase, teacher, group, gate, metric.

The names stand in ``__init__.pyi`` and load on first use: a report reads what a metric is and needs no torch,
the only library that this room imports.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
