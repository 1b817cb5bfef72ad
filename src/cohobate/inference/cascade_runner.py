"""An exported cascade without PyTorch: this file needs Python, NumPy and onnxruntime only.

``cohobate export RUN --adaptive`` puts it, as cascade.py, beside the networks (stage-0.onnx ...) and
cascade.json, and so it can be used from there::

    from cascade import Cascade

    cascade = Cascade()  # the folder of this file; or Cascade("folder")
    logits, exits = cascade.predict(images)  # images as cascade.values and cascade.shape say

    python cascade.py images.npy  # in a shell: a line an image

The logits of the networks add up. After each network an image leaves if its energy, the sum of the squared
probabilities, is above the threshold; only the others are computed any further (Li et al.: ResKD:
Residual-Guided Knowledge Distillation, IEEE Transactions on Image Processing, 2021, section III-C).
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FORMAT = "cohobate cascade 1"
"""What cascade.json says it is."""
RECORD, NEVER = "cascade.json", "never"
"""Its name; and what stands in it for a threshold that no energy exceeds."""
BATCH = 100
"""Images that the command line computes at once."""
TYPES = {"0-255": ("uint8", "tensor(uint8)"), "0-1": ("float32", "tensor(float)")}
TYPES["normalised"] = TYPES["0-1"]
"""Values of the images -> the type of NumPy, and of onnxruntime."""
AGAIN = "export the run again: cohobate export RUN --adaptive"

Array = NDArray[Any]


class Prediction(NamedTuple):
    """What a cascade predicts, and where each image left it.

    Attributes:
        logits: (B, K), float32.
        exits: (B,), int64, the stage after which it left: 0 for an image that needed the first network only.
    """

    logits: Array
    exits: Array


class Cascade:
    """The networks of a folder, of which an image runs through as many as it needs, on the CPU.

    Args:
        folder: that holds cascade.json; by default that of this file.
        threads: that compute one batch; by default onnxruntime decides.

    Attributes:
        classes: names, in the order of the logits.
        shape: (C, H, W) of an image.
        values: of the images: "0-255", uint8; "0-1", those over 255, float32; "normalised" by ``about``'s
            mean and std, float32.
        energy: what is compared with the threshold: "sum", the energy of the summed logits; "added", the
            energies of the networks added up.
        about: all that cascade.json says.

    Raises:
        ImportError: onnxruntime is not installed.
        FileNotFoundError: there is no cascade.json, or one of its networks is missing.
        ValueError: cascade.json is damaged or of another version, a network is another one, or ``threads`` is
            below 1.
    """

    def __init__(self, folder: Path | str | None = None, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads is 1 or more, got {threads}")
        folder = Path(__file__).resolve().parent if folder is None else Path(folder)
        self.about = _record(folder / RECORD)
        self.classes: tuple[str, ...] = tuple(self.about["classes"])
        self.shape: tuple[int, ...] = tuple(self.about["shape"])
        self.values: str = self.about["values"]
        self.energy: str = self.about["energy"]
        self.threshold = math.inf if self.about["threshold"] == NEVER else self.about["threshold"]
        self._stages = [self._stage(folder / each["file"], each, threads) for each in self.about["stages"]]

    @property
    def threshold(self) -> float:
        """An energy in [0, 1], or math.inf, with which no image leaves early; it can be set."""
        return self._threshold

    @threshold.setter
    def threshold(self, threshold: float) -> None:
        if not _is_threshold(threshold):
            raise ValueError(
                f"the threshold is an energy in [0, 1], or math.inf: no image leaves early; got {threshold!r}"
            )
        self._threshold = float(threshold)

    def predict(self, images: Array) -> Prediction:
        """The logits of images and where they leave; computed as one batch.

        Args:
            images: (B, C, H, W), with the values and the shape that the cascade takes; B may be 0.

        Raises:
            ValueError: images of another shape or type.
        """
        images = self._checked(images)
        number, classes = len(images), len(self.classes)
        logits = np.zeros((number, classes), np.float32)
        exits = np.zeros(number, np.int64)
        rows, sums, running = np.arange(number), logits, np.zeros(number)
        # Energies are at most 1: where they are not added up, none is above 1.
        early = self.threshold < (1 if self.energy == "sum" else math.inf)
        for stage, network in enumerate(self._stages):
            if len(rows) == 0:
                break
            new = network(images if len(rows) == number else images[rows])
            sums = sums + new
            logits[rows], exits[rows] = sums, stage
            if early:
                running = energy(sums) if self.energy == "sum" else running + energy(new)
                stay = running <= self.threshold
                rows, sums, running = rows[stay], sums[stay], running[stay]
        return Prediction(logits, exits)

    def prefixes(self, images: Array) -> Array:
        """The logits of the first network, of the sum of the first two ... of all, (stages, B, K) float32.

        What a threshold of one's own is chosen from. The images are as for :meth:`predict`, one or more.

        Raises:
            ValueError: images of another shape or type.
        """
        images = self._checked(images)
        sums: Array = np.cumsum(np.stack([network(images) for network in self._stages]), axis=0)
        return sums

    def _checked(self, images: Array) -> Array:
        dtype = TYPES[self.values][0]
        right = isinstance(images, np.ndarray) and images.ndim == 4 and images.shape[1:] == self.shape
        # Floats of another precision are converted; bytes for floats would be other images.
        if not right or images.dtype.kind != np.dtype(dtype).kind or (dtype == "uint8" != images.dtype):
            got = f"{images.shape} of {images.dtype}" if isinstance(images, np.ndarray) else type(images)
            channels, height, width = self.shape
            raise ValueError(
                f"this cascade takes arrays (B, {channels}, {height}, {width}) of {dtype}, values "
                f"{self.values}; got {got}"
            )
        return np.ascontiguousarray(images, dtype)

    def _stage(self, file: Path, said: Mapping[str, str], threads: int | None) -> Callable[[Array], Array]:
        session = _session(file, said["sha256"], threads)
        takes, gives = session.get_inputs(), session.get_outputs()
        found = [(each.type, each.shape[1:]) for each in [*takes, *gives]]
        expected = [(TYPES[self.values][1], [*self.shape]), ("tensor(float)", [len(self.classes)])]
        if found != expected:
            listed = ", ".join(f"{each.name} {each.type} {each.shape}" for each in [*takes, *gives])
            raise ValueError(
                f"{file} is no network of this cascade, which takes images {self.shape} with values "
                f"{self.values} and gives {len(self.classes)} logits; the file has {listed}; {AGAIN}"
            )
        name = takes[0].name

        def logits(images: Array) -> Array:
            return np.asarray(session.run(None, {name: images})[0], np.float32)

        return logits


def energy(logits: Array) -> Array:
    """The sum of the squared probabilities of each image in float64, (B, K) -> (B,), at most 1."""
    wide = logits.astype(np.float64)
    raised = np.exp(wide - wide.max(axis=1, keepdims=True))
    shares = raised / raised.sum(axis=1, keepdims=True)
    energies: Array = np.minimum(np.square(shares).sum(axis=1), 1.0)
    return energies


def _is_threshold(value: object) -> bool:
    return isinstance(value, Real) and (0 <= float(value) <= 1 or float(value) == math.inf)


def _is_file(stage: object) -> bool:
    """Whether a stage names a file of the folder itself, and its fingerprint."""
    if not isinstance(stage, dict) or not all(isinstance(stage.get(key), str) for key in ("file", "sha256")):
        return False
    name = stage["file"]
    return name.endswith(".onnx") and not set(name) & set("/\\:\0") and not name.startswith(".")


FIELDS: dict[str, Callable[[Any], bool]] = {
    "stages": lambda v: isinstance(v, list) and len(v) > 0 and all(map(_is_file, v)),
    "threshold": lambda v: v == NEVER or (_is_threshold(v) and v != math.inf),
    "energy": lambda v: v in ("sum", "added"),
    "classes": lambda v: isinstance(v, list) and len(v) > 0 and all(isinstance(name, str) for name in v),
    "shape": lambda v: isinstance(v, list) and len(v) == 3 and all(type(n) is int and n > 0 for n in v),
    "values": lambda v: isinstance(v, str) and v in TYPES,
}
"""Name -> whether it is what cascade.json has there."""


def _record(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no {path}: give the folder that `cohobate export RUN --adaptive` has written"
        )
    try:
        record = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is cut or damaged ({error}); {AGAIN}") from error
    said = record.get("format") if isinstance(record, dict) else None
    if said != FORMAT:
        raise ValueError(
            f"{path} is of the format {said!r}, this cascade.py reads {FORMAT!r}: take the cascade.py that "
            "was written with it"
        )
    for name, fits in FIELDS.items():
        if not fits(record.get(name)):
            raise ValueError(f"{path} cannot have {record.get(name)!r} as {name}; {AGAIN}")
    return record  # type: ignore[no-any-return]


def _session(file: Path, sha256: str, threads: int | None) -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise ImportError("a cascade is run by onnxruntime; install it: pip install onnxruntime") from error
    if not file.is_file():
        raise FileNotFoundError(f"{file}, a network of the cascade, is missing; {AGAIN}")
    data = file.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(
            f"{file} is not the file that the cascade was written with, or it is damaged; {AGAIN}; if you "
            f"have changed it yourself, put its new sha256 into {RECORD}"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class of error for each thing that may be wrong
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{file} cannot be read by onnxruntime: {first}") from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each image of a file: its number, the label, its probability, where it left."""
    parser = argparse.ArgumentParser(description="Run the images of a .npy file through the cascade, as CSV.")
    parser.add_argument("images", type=Path, help="file of numpy.save, (N, C, H, W)")
    parser.add_argument("--folder", type=Path, help="that holds cascade.json; by default that of this file")
    parser.add_argument("--threshold", type=float, help="another than the stored one; inf: none leaves early")
    parser.add_argument("--threads", type=int)
    try:
        _print_lines(parser.parse_args(arguments))
    except (OSError, ValueError, ImportError) as error:
        parser.exit(2, f"error: {error}\n")


def _print_lines(given: argparse.Namespace) -> None:
    cascade = Cascade(given.folder, given.threads)
    if given.threshold is not None:
        cascade.threshold = given.threshold
    images = _array(given.images)
    lines = csv.writer(sys.stdout)
    lines.writerow(["image", "label", "probability", "exit"])
    for start in range(0, max(1, len(images)), BATCH):
        logits, exits = cascade.predict(images[start : start + BATCH])
        for i, row in enumerate(logits.astype(np.float64)):
            best = int(row.argmax())
            probability = 1 / np.exp(row - row[best]).sum()
            lines.writerow([start + i, cascade.classes[best], f"{probability:.6f}", int(exits[i])])


def _array(path: Path) -> Array:
    with path.open("rb") as file:
        try:
            held = np.load(file, allow_pickle=False)
        except Exception:  # bytes that are cut make NumPy raise almost anything
            held = None
    if not isinstance(held, np.ndarray) or held.ndim == 0:
        raise ValueError(f"{path} is no array of images as numpy.save writes it, or it is cut")
    return held


if __name__ == "__main__":
    main()
