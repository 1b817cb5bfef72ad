"""The predictors of a finished run as networks: the deployed one, another one, or one that the user holds."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn

from ..core import Classifier
from ..core.networks import refuse_wrapped
from ..engine.errors import RunError
from ..inference.agreement import agreement
from ..models.checkpoints import load_weights
from ..models.surgery.probe import noise
from ..recipes.networks import rebuilt
from ..runs.deployed import Deployed
from ..runs.kept import load_kept
from .rebuild import prepared_of, rebuild
from .subject import On, Opened


def of_user(network: nn.Module, deployed: Deployed) -> nn.Module:
    """A copy of a network of the user's own on the CPU, in fp32, with the weights of a run.

    Args:
        network: as it was built for the run; it is not changed.
        deployed: of the run.

    Raises:
        ValueError: it cannot be copied, is wrapped for several devices, or the weights do not fit it.
    """
    refuse_wrapped(network)
    try:
        copy = deepcopy(getattr(network, "_orig_mod", network)).float().cpu()
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"{type(network).__name__} cannot be copied ({error}), and a copy of it is exported: give one "
            "that was just built, with nothing in it but its weights"
        ) from error
    load_weights(copy, deployed.path)
    return Classifier(copy)


def of_method(of: Opened, name: str, epoch: int, on: On) -> nn.Module:
    """A predictor of a run's method that is not deployed: the method is built again, on the CPU.

    Args:
        of: the run.
        name: of the predictor, one that the run has.
        epoch: whose weights it gets.
        on: where the images of the run are now.

    Raises:
        RunError: the run does not have the weights of the whole method any more.
        FileNotFoundError: its images are gone, without which the method cannot be built.
    """
    moved = {"data": on.data, "data_root": on.data_root}
    try:
        prepared = prepared_of(
            of.run.folder, device="cpu", **{key: value for key, value in moved.items() if value is not None}
        )
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error}; the read-out {name!r} is built again with the whole method of the run, for which its "
            "images must be there: --data-root and --data say where they are"
        ) from error
    again = rebuild(of.run.folder, prepared)
    if epoch not in again.states:
        raise RunError(f"{of.run.folder} has no weights of the whole method after epoch {epoch} any more")
    load_kept(again.method, again.states[epoch])
    return again.method.eval().predictors()[name]


def named(network: nn.Module, deployed: Deployed) -> tuple[str, ...]:
    """The models of which a predictor is the sum, one of them where it is plain; empty if it is no such sum.

    Peers and the sums of ResKD's first stages are, ensembles of branches are not.

    Args:
        network: images -> logits.
        deployed: of the run, whose models are tried.
    """
    images = noise(network, deployed.shape)
    with torch.no_grad():
        logits = network(images)
        for count in range(1, len(deployed.members) + 1):
            members = deployed.members[:count]
            facts = {**deployed.facts, "members": members}
            try:
                again = Classifier(rebuilt(Deployed(deployed.path, network.state_dict(), facts)))
            except RuntimeError:  # other tensors
                continue
            if agreement(logits, again.eval()(images)).same:
                return tuple(members)
    return ()
