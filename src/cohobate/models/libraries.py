"""Networks of timm and torchvision by name. Both libraries are optional."""

from __future__ import annotations

import importlib
from difflib import get_close_matches
from typing import Any, cast

import torch
from torch import nn

from ..config.extras import ONE_RELEASE, missing
from ..config.text import first_line
from ..core import Shape
from .surgery.adapt import adapt, made_for
from .surgery.probe import look
from .surgery.stages import find_head


def build_library(
    library: str, name: str, classes: int, shape: Shape | None, options: dict[str, Any]
) -> nn.Module:
    """A network of timm or torchvision that returns an Output.

    Args:
        library: one of :data:`cohobate.models.registry.LIBRARIES`.
        name: as the library knows it.
        classes: K; a pretrained classifier for another number is replaced by a new one.
        shape: (C, H, W) of the images; by default the size that the network was made for. For other than 3
            channels timm makes another first convolution (``in_chans``), for which it adds up or repeats
            pretrained weights; torchvision cannot.
        options: of the library's own function; ``pretrained=True`` downloads its weights.

    Raises:
        ImportError: the library is missing or broken; the message says what to install.
        ValueError: an unknown name (with the nearest) or option, weights that cannot be had, or images
            of other than 3 channels for torchvision.
    """
    network = library_network(library, name, classes, shape, options)
    return adapt(network, shape=shape or made_for(network))


def library_network(
    library: str, name: str, classes: int, shape: Shape | None, options: dict[str, Any]
) -> nn.Module:
    """The same as the library itself makes it: images -> logits."""
    options = dict(options)
    if shape is not None and shape[0] != 3:
        if library == "torchvision":
            raise ValueError(
                f"torchvision:{name} is for images of 3 channels, these have {shape[0]}; take a network of "
                "timm, a built-in one, or your own (file.py:make), or give --channels 3 for grey images"
            )
        options.setdefault("in_chans", shape[0])
    return _MAKERS[library](name, classes, options)


def _timm(name: str, classes: int, options: dict[str, Any]) -> nn.Module:
    timm = _imported("timm")
    _known("timm", name.partition(".")[0], timm.list_models())
    network: nn.Module = _made("timm", name, timm.create_model, name, num_classes=classes, **options)
    return network


def _torchvision(name: str, classes: int, options: dict[str, Any]) -> nn.Module:
    models = _imported("torchvision").models
    _known("torchvision", name, models.list_models(module=models))
    network: Any
    if not options.pop("pretrained", False):
        network = _made(
            "torchvision", name, models.get_model, name, weights=None, num_classes=classes, **options
        )
        return cast(nn.Module, network)
    network = _made("torchvision", name, models.get_model, name, weights="DEFAULT", **options)
    weights = models.get_model_weights(name).DEFAULT
    images, categories = weights.transforms(), len(weights.meta["categories"])
    # As timm's networks say it.
    network.pretrained_cfg = {"mean": images.mean, "std": images.std, "num_classes": categories}
    _new_head(network, classes)
    return cast(nn.Module, network)


_MAKERS = {"timm": _timm, "torchvision": _torchvision}


def _imported(library: str) -> Any:
    """The library's module.

    Raises:
        ImportError: it is not there, or was built for another torch.
    """
    try:
        return importlib.import_module(library)
    except ModuleNotFoundError as error:
        if error.name != library:
            raise
        raise ImportError(missing(library, f"{library}:NAME")) from error
    except (ImportError, OSError, RuntimeError) as error:
        # A torchvision that was built for another torch raises RuntimeError here.
        raise ImportError(
            f"{library} cannot be imported beside torch {torch.__version__} ({first_line(error)}): "
            f"{ONE_RELEASE}"
        ) from error


def _known(library: str, name: str, names: list[str]) -> None:
    if name not in names:
        near = ", ".join(f"{library}:{n}" for n in get_close_matches(name, names, n=3, cutoff=0.0))
        raise ValueError(f"{library} has no model {name!r}; the nearest are {near}")


def _made(library: str, name: str, make: Any, *args: Any, **options: Any) -> Any:
    """Call ``make``; its errors about options and downloads become one line."""
    try:
        return make(*args, **options)
    except (TypeError, AssertionError) as error:
        raise ValueError(f"{library}:{name} does not take these options: {error}") from error
    except (OSError, RuntimeError) as error:
        if not (options.get("pretrained") or options.get("weights")):
            raise ValueError(f"{library}:{name}: {error}") from error
        raise ValueError(
            f"the pretrained weights of {library}:{name} could not be fetched "
            f"({first_line(error)}); with a file of them: {library}:{name}:weights=FILE"
        ) from error


def _new_head(network: nn.Module, classes: int) -> None:
    """Replace the classifier unless it predicts as many classes already."""
    head = find_head(look(network, made_for(network)))
    if head is None:
        raise ValueError(f"{type(network).__name__} has no linear classifier to replace; build it yourself")
    old = network.get_submodule(head)
    if isinstance(old, nn.Linear) and old.out_features != classes:
        network.set_submodule(head, nn.Linear(old.in_features, classes, old.bias is not None))
