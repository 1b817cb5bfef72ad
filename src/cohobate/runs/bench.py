"""What forms of networks cost and how fast they are, measured side by side."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A part of what was measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Spread(Record):
    """A number over the rounds of a measurement.

    Attributes:
        median: over the rounds.
        low, high: the first and the third quartile: half of the rounds lie between them.
    """

    median: float
    low: float
    high: float

    @property
    def inverse(self) -> Spread:
        """Of one over the number, in thousands: milliseconds an image -> images a second."""
        return Spread(median=1000 / self.median, low=1000 / self.high, high=1000 / self.low)


class Row(Record):
    """A network in one form.

    Attributes:
        network: run, file or teacher.
        form: "PyTorch fp32", "ONNX", "ONNX int8" ...
        parameters, macs: multiply-accumulates of one image; None where nobody recorded them, or where they
            depend on the image.
        size: of its file in bytes; of a teacher that of its weights.
        device: that computes.
        latency: milliseconds of a batch of one image.
        throughput: images a second in large batches.
    """

    network: str
    form: str
    parameters: int | None
    macs: int | None
    size: int
    device: str
    latency: Spread
    throughput: Spread


class Bench(Record):
    """Networks beside each other.

    Attributes:
        rows: a network in a form each.
        processor: of the machine.
        threads: with which the CPU computes a batch, in PyTorch and in onnxruntime.
        batch: images of the large batches.
        rounds: of the latency and of the throughput; in each of them every network takes its turn.
        images: shape -> where the images are from.
        torch, onnxruntime: their versions; of onnxruntime None where it is not installed.
    """

    rows: tuple[Row, ...]
    processor: str
    threads: int
    batch: int
    rounds: tuple[int, int]
    images: dict[str, str]
    torch: str
    onnxruntime: str | None
