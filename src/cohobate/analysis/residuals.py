"""How far the students of ResKD are from their teacher, stage by stage.

Li et al., *ResKD: Residual-Guided Knowledge Distillation*, IEEE Transactions on Image Processing 2021,
section V: table 8 and figures 4 to 6.

T(x)                    teacher_logits, (N, K)
S_i(x)                  student_logits, (N, K); of all stages prefix_logits, (n + 1, N, K), S_0 first
GI(x, S, T)             gi(network, x, teacher_logits): gap of informativeness
GI_hat / C_1            bounds: the L2 distance of the logits, l2_to_teacher(student_logits, teacher_logits)
k_i                     relative_decrease(bounds)

Choices:

- theta of eq. 12 is every parameter of S, also of the members of a sum that were frozen while the last one
  was trained, so that a longer sum has more of them. In the other reading it is what was trained, R_i alone:
  :func:`gradient_norms` tells the parameters apart.
- S is in evaluation mode for it: eq. 12 speaks of one image, and in training mode batch norm would mix in the
  others.
- Eq. 20 writes a norm for a vector: the gradient of eq. 19 by the logits is 2 (S - T), of norm
  2 ||S - T||_2. So GI_hat / C_1 of eq. 21 is ||S_i - T||_2, the L2 distance of the logits. Table 8 prints two
  columns that differ, "L2 to T" and "GI / C_1 to T", and does not say of what the first is the distance: ours
  is given of logits and of probabilities.
- Eq. 25 speaks of stage i - 1 where eq. 23 speaks of stage i. Ours: k_i = 1 - GI_hat(S_i) / GI_hat(S_(i-1)),
  what R_i takes away, from means over the images. It is below 0 where R_i made the distance larger.
- The images of table 8 are those that any S_i with i > 0 predicts rightly and S_0 wrongly.
- Figures 4 to 6: the principal components are those of the teacher's logits, fitted on the images that are
  shown, and the students are projected into that plane. The sign of a component is such that its largest
  weight is positive.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from ..config.words import count
from ..core import as_output, float32, mode

CHUNK = 32
"""Images whose gradients are computed at once, at most."""
GRADIENTS = 2**26
"""Numbers in the gradients that are computed at once, at most: 256 MiB in float32."""


@float32
def l2_to_teacher(
    student_logits: Tensor, teacher_logits: Tensor, *, of: Literal["logits", "probabilities"] = "logits"
) -> Tensor:
    """The L2 distance of each image's logits or probabilities to the teacher's, (N, K) twice -> (N,).

    Of logits it is GI_hat / C_1, the bound of the gap of informativeness (eqs. 18 to 21).

    Raises:
        ValueError: different shapes, not of two dimensions, or another ``of``.
    """
    _check_pair(student_logits, teacher_logits)
    if of not in ("logits", "probabilities"):
        raise ValueError(f"the distance to the teacher is of logits or of probabilities, got {of!r}")
    if of == "probabilities":
        student_logits, teacher_logits = student_logits.softmax(dim=1), teacher_logits.softmax(dim=1)
    return (student_logits - teacher_logits).square().sum(dim=1).sqrt()  # Eq. 21, over C_1


@float32
def relative_decrease(bounds: Tensor) -> Tensor:
    """The share k_i of the distance to the teacher that each res-student takes away.

    Args:
        bounds: (n + 1,), the mean bound of S_0, S_1 ... S_n, not negative.

    Returns:
        (n,): k_1 ... k_n, at most 1; below 0 where the distance has grown, NaN from 0 to 0.

    Raises:
        ValueError: not of one dimension, or a negative bound.
    """
    if bounds.ndim != 1 or (bounds < 0).any():
        raise ValueError(f"bounds are distances of S_0, S_1 ..., (n + 1,), got {bounds.tolist()}")
    return 1 - bounds[1:] / bounds[:-1]  # Eq. 25


def table8_rows(prefix_logits: Tensor, y: Tensor) -> Tensor:
    """Positions of the images that any S_i with i > 0 predicts rightly and S_0 wrongly, ascending, int64.

    Args:
        prefix_logits: (n + 1, N, K), of S_0, S_1 ... S_n.
        y: (N,) class ids.

    Raises:
        ValueError: other shapes, or no student after S_0.
    """
    if prefix_logits.ndim != 3 or prefix_logits.shape[1] != len(y) or len(prefix_logits) < 2:
        raise ValueError(
            "prefix_logits are (n + 1, N, K), of S_0 and one student or more after it, and y is (N,); got "
            f"{tuple(prefix_logits.shape)} and {tuple(y.shape)}"
        )
    right = prefix_logits.argmax(dim=2) == y
    return (right[1:].any(dim=0) & ~right[0]).nonzero().flatten()


# ---------------------------------------------------------------- gap of informativeness


@float32
def gi(
    network: nn.Module,
    x: Tensor,
    teacher_logits: Tensor,
    *,
    say: Callable[[str], None] = lambda message: None,
) -> Tensor:
    """The gap of informativeness of each image by its definition, (N,).

    It is the L2 norm of the gradient of the squared L2 distance to the teacher's logits with respect to all
    parameters of the network. Arguments and errors: those of :func:`gradient_norms`.
    """
    return together(gradient_norms(network, x, teacher_logits, say=say).values())  # Eq. 12


def together(norms: Iterable[Tensor]) -> Tensor:
    """The L2 norm of several vectors as one, of their norms, (N,) each."""
    return torch.stack(list(norms)).square().sum(dim=0).sqrt()


def gradient_norms(
    network: nn.Module,
    x: Tensor,
    teacher_logits: Tensor,
    *,
    say: Callable[[str], None] = lambda message: None,
) -> dict[str, Tensor]:
    """For each parameter of a network, the norm of the gradient of each image's loss (eq. 19) by it.

    Parameters that require no gradient count, too. The network is in evaluation mode for it, and is not
    changed. Gradients of several images are computed at once with ``torch.func.vmap``; a network that vmap
    cannot run is differentiated image by image, with the same result.

    Args:
        network: images -> Output or logits (N, K), an S_i.
        x: (N, C, H, W), normalised.
        teacher_logits: (N, K).
        say: prints a note where vmap cannot run the network.

    Returns:
        Name of a parameter -> (N,).

    Raises:
        ValueError: no image, another number of images or classes than the teacher's, or a network without
            parameters.
    """
    weights = {name: p.detach() for name, p in network.named_parameters()}
    size = sum(p.numel() for p in weights.values())
    if not size:
        raise ValueError(f"{type(network).__name__} has no parameters, so its gap of informativeness is none")
    if len(x) != len(teacher_logits) or not len(x):
        raise ValueError(f"got {count(len(x), 'image')} and the teacher's logits of {len(teacher_logits)}")

    def loss(weights: dict[str, Tensor], image: Tensor, target: Tensor) -> Tensor:
        output = as_output(functional_call(network, weights, (image[None],)))
        return (output.logits[0] - target).square().sum()  # Eq. 19

    def vmapped(weights: dict[str, Tensor], image: Tensor, target: Tensor) -> Tensor:
        return _lengths(grad(loss)(weights, image, target).values())

    def alone(image: Tensor, target: Tensor) -> Tensor:
        leaves = {name: p.detach().requires_grad_() for name, p in weights.items()}
        with torch.enable_grad():
            of_image = loss(leaves, image, target)
        return _lengths(torch.autograd.grad(of_image, list(leaves.values()), materialize_grads=True))

    with mode(network, training=False):
        with torch.no_grad():
            _check_pair(as_output(network(x[:1])).logits, teacher_logits[:1])
        several = vmap(vmapped, in_dims=(None, 0, 0), chunk_size=max(1, min(CHUNK, GRADIENTS // size)))
        try:
            with warnings.catch_warnings():
                # Attention has no rule for vmap and is run in a loop: slower, and no less right.
                warnings.filterwarnings("ignore", "There is a performance drop")
                norms = several(weights, x, teacher_logits).detach()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            reason = str(error).strip().partition("\n")[0]
            say(f"note: the gap of informativeness is computed image by image, as vmap stops at: {reason}")
            norms = torch.stack([alone(*pair) for pair in zip(x, teacher_logits, strict=True)])
    return dict(zip(weights, norms.unbind(dim=1), strict=True))


def _lengths(gradients: Iterable[Tensor]) -> Tensor:
    """The L2 norm of each tensor."""
    return torch.stack([g.square().sum() for g in gradients]).sqrt()


def _check_pair(student_logits: Tensor, teacher_logits: Tensor) -> None:
    if student_logits.ndim != 2 or student_logits.shape != teacher_logits.shape:
        raise ValueError(
            "logits of student and teacher are of one shape, (N, K); got "
            f"{tuple(student_logits.shape)} and {tuple(teacher_logits.shape)}"
        )


# ---------------------------------------------------------------- figures 4 to 6


class Plane(NamedTuple):
    """The plane of the first two principal components of the teacher's logits, float64.

    Attributes:
        mean: (K,) of the logits.
        axes: (2, K), orthonormal.
        shares: (2,), of the variance of the logits along each axis, 0 to 1.
    """

    mean: Tensor
    axes: Tensor
    shares: Tensor


def principal_plane(logits: Tensor) -> Plane:
    """The first two principal components of logits, (N, K); the largest weight of each is positive.

    Raises:
        ValueError: not of two dimensions, fewer than three images or two classes, or logits that lie on a
            line or in a point, so that they span no plane.
    """
    if logits.ndim != 2 or len(logits) < 3 or logits.shape[1] < 2:
        raise ValueError(
            "two principal components need the logits (N, K) of three images or more and two classes or "
            f"more, got shape {tuple(logits.shape)}"
        )
    points = logits.double().cpu()
    mean = points.mean(dim=0)
    centred = points - mean
    variances, vectors = torch.linalg.eigh(centred.T @ centred)  # ascending
    variances, axes = variances.flip(0).clamp(min=0), vectors.T.flip(0)[:2]
    if variances[1] <= 1e-12 * variances[0] or not variances[0] > 0:
        raise ValueError("the logits lie on a line or in a point, so that they span no plane")
    largest = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True))
    return Plane(mean, axes * largest.sign(), variances[:2] / variances.sum())


def projected(logits: Tensor, plane: Plane) -> Tensor:
    """Logits (N, K) as points in a plane, (N, 2) float64."""
    return (logits.double().cpu() - plane.mean) @ plane.axes.T
