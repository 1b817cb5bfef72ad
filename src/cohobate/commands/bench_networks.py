"""Forms of a network, ready to be measured: those of a run, its teacher's, that of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from ..analysis.cost import cost
from ..config.text import shown
from ..core import Shape, Task
from ..data.dataset import Dataset
from ..data.raw import pixels, spread
from ..engine.checkpoint import State, state_bytes, weights_digest
from ..engine.errors import RunError
from ..inference.deployable import Deployable, Normalisation
from ..inference.exporting import captured, onnx_bytes
from ..inference.onnx_network import OnnxNetwork
from ..runs.exported import About, ExportFolder
from ..runs.layout import RunFolder
from .export_forms import Forms
from .export_int8 import calibrated, calibration_split
from .export_options import Asked, Command, require_onnx
from .export_source import checking_split, source_of
from .ready import ReadyNetwork
from .ready_onnx import on_bytes, ready_of_onnx
from .ready_opened import ready_network
from .ready_torch import in_torch
from .run_teacher import teacher_of
from .subject import On, images_to_check

SHOWN = 64
"""Images that are measured on."""

Say = Callable[[str], None]


class Measurable(NamedTuple):
    """A network in one form.

    Attributes:
        network: run, file or teacher, as the user knows it.
        form: "PyTorch fp32", "ONNX", "ONNX int8" ...
        parameters, macs: of one image, as far as they are known.
        size: of its file, in bytes.
        device: that computes.
        shape: (C, H, W) of its images.
        predict: images as bytes, uint8 (B, C, H, W) -> logits, or what else has them.
        task: what it predicts.
        classes: K.
    """

    network: str
    form: str
    parameters: int | None
    macs: int | None
    size: int
    device: str
    shape: Shape
    predict: Callable[[Tensor], object]
    task: Task
    classes: int


class Images(NamedTuple):
    """Images as bytes, uint8 (N, C, H, W), and where they are from."""

    pixels: Tensor
    where: str


class File(NamedTuple):
    """An ONNX file: its content, and what it says of itself."""

    data: bytes
    about: About


def opened(path: Path, device: str | None, on: On, say: Say) -> tuple[list[Measurable], Images | None]:
    """A run or a file, ready to be measured; with a run come its images, if they are there.

    Args:
        path: of the folder or file.
        device: of PyTorch; None: that of the run, or of a file a GPU if there is one.
        on: where the images of the run are now, or others.
        say: prints a note on what cannot be measured.
    """
    return _of_run(path, device, on, say) if path.is_dir() else (_of_file(path, device), None)


def _of_file(path: Path, device: str | None) -> list[Measurable]:
    """A file in the one form that it has."""
    ready = ready_network(path, device=None if path.suffix == ".onnx" else device)
    about, network = ready.about, ready.network
    form = f"PyTorch {ready.precision}"
    if network is None:
        form = "ONNX" if about.int8 is None else "ONNX int8"
    spent = (about.parameters, about.macs) if network is None else _cost(network, about.shape)
    size = path.stat().st_size
    return [_measurable(ready, form, spent, size)]


def _of_run(path: Path, device: str | None, on: On, say: Say) -> tuple[list[Measurable], Images | None]:
    """The forms of a run and of its teacher, and images of the run; a note says what cannot be measured."""
    ready = ready_network(path, device=device)
    of, network, shape = ready.run, ready.network, ready.about.shape
    if of is None or network is None:
        raise RunError(f"{path} is no run")
    dataset = images_to_check(of, on, say)
    spent, size = _cost(network, shape), of.deployed.path.stat().st_size
    row = _measurable(ready, "", spent, size)
    found = [row._replace(form=f"PyTorch {ready.precision}")]
    if ready.precision != "fp32":
        single = in_torch(network, ready.about, ready.device, "fp32")
        found.append(row._replace(form="PyTorch fp32", predict=single))
    if len(of.deployed.members) > 1 and of.deployed.threshold is not None:
        early = ready_network(path, device=device, adaptive=True)
        # How much of it an image needs depends on the image.
        found.append(
            row._replace(form=f"PyTorch {ready.precision}, adaptive", macs=None, predict=early.logits)
        )
    found += _in_onnx(path, ready, dataset, row, say)
    if dataset is None:
        unseen = "noise is measured, and no teacher" if of.config.teacher else "noise is measured"
        say(
            f"note: the images of {ready.name} are not there, or are others by now, so {unseen}; "
            "--data-root and --data say where there are images"
        )
        return found, None
    found += _teacher(ready, dataset, say)
    name, split = checking_split(dataset)
    return found, Images(pixels(split, spread(len(split), SHOWN)), f"{dataset.name}, {name} split")


def _measurable(
    ready: ReadyNetwork, form: str, spent: tuple[int | None, int | None], size: int
) -> Measurable:
    """A ready network in a form; ``spent``: parameters and multiply-accumulates, ``size`` in bytes."""
    about, place = ready.about, str(ready.device)
    classes = len(about.classes)
    return Measurable(ready.name, form, *spent, size, place, about.shape, ready.logits, about.task, classes)


def _cost(network: nn.Module, shape: Shape) -> tuple[int, int]:
    """Parameters and multiply-accumulates."""
    spent = cost(network, shape)
    return spent.parameters, spent.macs


# ---------------------------------------------------------------- in ONNX


def _in_onnx(
    path: Path, ready: ReadyNetwork, dataset: Dataset | None, row: Measurable, say: Say
) -> Iterator[Measurable]:
    """The run as ONNX, in floats and in integers: as it was exported, else made for the measurement."""
    files, name = ExportFolder(RunFolder(path).export), ready.name
    try:
        require_onnx()
        floats = _exported(files.network("onnx"), ready, say)
        if floats is None:
            say(f"note: {name} has no exported ONNX file, which is made for the measurement and not kept")
            source = source_of(Asked(Command.model_validate({"run": path})))
            floats = File(Forms(source, None).written("onnx"), source.about)
        yield _row(row, "ONNX", floats)
        integers = _exported(files.int8, ready, say)
        if integers is None and dataset is None:
            say(f"note: no int8 row of {name}: calibration needs its images")
            return
        if integers is None and dataset is not None:
            say(f"note: {name} has no exported int8 file, which is made for the measurement and not kept")
            _, split = calibration_split(dataset)
            integers = File(calibrated(floats.data, floats.about, split, None, name), floats.about)
        if integers is not None:
            yield _row(row, "ONNX int8", integers)
    except (ImportError, ValueError, RunError) as error:
        say(f"note: no ONNX rows of {name}: {error}")


def _exported(file: Path, ready: ReadyNetwork, say: Say) -> File | None:
    """A file of the run's export; None, and a note, where it is of another network."""
    if not file.is_file() or ready.run is None:
        return None
    try:
        about = ready_of_onnx(file, None, None, False).about
    except (ValueError, RunError) as error:
        say(f"note: {error}")
        return None
    deployed = ready.run.run.outcome["predictor"]
    if about.readout != deployed:
        say(f"note: {shown(file)} is of the read-out {about.readout}, and the run deployed {deployed}")
        return None
    if about.weights_digest != weights_digest(ready.network.state_dict() if ready.network else {}):
        say(f"note: {shown(file)} holds other weights than {ready.name} has now")
        return None
    return File(file.read_bytes(), about)


def _row(like: Measurable, form: str, file: File) -> Measurable:
    predict = on_bytes(OnnxNetwork(file.data), file.about)
    return like._replace(form=form, size=len(file.data), device="cpu", predict=predict)


# ---------------------------------------------------------------- the teacher


def _teacher(ready: ReadyNetwork, dataset: Dataset, say: Say) -> Iterator[Measurable]:
    """The teacher of a run as PyTorch computes it in the run's precision, and as ONNX."""
    of, about = ready.run, ready.about
    if of is None or not of.config.teacher:
        return
    teacher = teacher_of(of, dataset, say)
    if teacher.network is None:
        say(f"note: no row of the teacher of {ready.name}: {teacher.missing}")
        return
    network = teacher.network.to(ready.device)
    row = Measurable(
        f"teacher {teacher.name}",
        f"PyTorch {ready.precision}",
        *_cost(network, about.shape),
        len(state_bytes(State(network.state_dict(), {}))),
        str(ready.device),
        about.shape,
        in_torch(network, about, ready.device, ready.precision),
        about.task,
        len(about.classes),
    )
    yield row
    normalisation = Normalisation(about.mean, about.std)
    taking = about.model_copy(update={"values": "0-255"})
    try:
        require_onnx()
        program = captured(Deployable(network.cpu(), normalisation, "0-255").eval(), about.shape)
        yield _row(row, "ONNX", File(onnx_bytes(program, {}), taking))
    except (ImportError, ValueError) as error:
        say(f"note: no ONNX row of the teacher of {ready.name}: {error}")
    finally:
        network.to(ready.device)
