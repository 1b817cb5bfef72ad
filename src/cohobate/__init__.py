"""Cohobate: knowledge distillation of vision networks.

The public names stand in ``__init__.pyi``. Their modules load on first use, so that ``import cohobate`` does
not import torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
