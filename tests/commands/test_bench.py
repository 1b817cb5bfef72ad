"""``cohobate bench``: which networks stand in the table, with what costs, sizes and times."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from command_line import refused
from rich.console import Console
from torch import Tensor

from cohobate.analysis.cost import cost
from cohobate.cli import main
from cohobate.commands import bench_networks, bench_times, export_files, export_int8
from cohobate.commands.bench_networks import Images, Measurable
from cohobate.commands.bench_times import BATCH, bench, measured
from cohobate.commands.export import export
from cohobate.commands.ready import Answers
from cohobate.commands.ready_opened import ready_network
from cohobate.commands.timing import Times
from cohobate.config import extras
from cohobate.inference.int8 import described
from cohobate.inference.onnx_network import OnnxNetwork
from cohobate.models.build import build
from cohobate.report.tables.bench import bench_notes, bench_rows, to_rich
from cohobate.runs.bench import Bench, Row, Spread

TRAIN = ["--data", "digits", "--epochs", "1", "--train-images", "200", "--lr", "0.02", "--quiet"]
KIND = "classification", 2
QUICK: dict[str, Any] = {"seconds": 0.02, "say": lambda message: None}


def rewritten(run: str, **options: Any) -> None:
    config = yaml.safe_load(Path(run, "run.yaml").read_text())
    Path(run, "run.yaml").write_text(yaml.safe_dump({**config, **options}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With ``teacher``; ``run``, its student, exported, in int8 too; ``bare``, without export or teacher."""
    folder = tmp_path_factory.mktemp("bench")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main(["train", "baseline", *TRAIN, "--model", "resnet14", "--out", "teacher"])
        main(["train", "kd", *TRAIN, "--model", "resnet8", "--teacher", "teacher", "--out", "run"])
        shutil.copytree("run", "bare")
        rewritten("bare", teacher=[])
        export("run", ("onnx", "safetensors"), int8=True, calibration_images=50)
    return folder


@pytest.fixture(autouse=True)
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def shape_of_run() -> tuple[int, int, int]:
    from cohobate.runs.deployed import read_deployed

    return read_deployed("run").shape


def logits(network: Measurable, images: Images) -> Tensor:
    found = network.predict(images.pixels)
    given = found.logits if isinstance(found, Answers) else found
    assert isinstance(given, Tensor)
    return given


def test_a_run_stands_beside_its_teacher_in_every_form() -> None:
    said: list[str] = []
    found = bench([Path("run")], seconds=0.02, say=said.append)
    assert [(row.network, row.form) for row in found.rows] == [
        ("run", "PyTorch fp32"),
        ("run", "ONNX"),
        ("run", "ONNX int8"),
        ("teacher teacher", "PyTorch fp32"),
        ("teacher teacher", "ONNX"),
    ]
    shape = shape_of_run()
    for rows, model in ((found.rows[:3], "resnet8"), (found.rows[3:], "resnet14")):
        spent = cost(build(model, 10, shape=shape), shape)
        assert {(row.parameters, row.macs) for row in rows} == {(spent.parameters, spent.macs)}
    files = ["run/deployed.safetensors", "run/export/model.onnx", "run/export/model.int8.onnx"]
    assert [row.size for row in found.rows[:3]] == [Path(file).stat().st_size for file in files]
    weights = 4 * found.rows[3].parameters if found.rows[3].parameters else 0
    assert weights < found.rows[3].size < 1.2 * weights
    assert (found.threads, found.batch) == (torch.get_num_threads(), 64)
    assert found.rounds == (3, 3)
    assert list(found.images.values()) == ["digits, val split"]
    for row in found.rows:
        for spread in (row.latency, row.throughput):
            assert 0 < spread.low <= spread.median <= spread.high
        assert row.device == "cpu"
    assert said == [line for line in said if "teacher" in line]


def test_several_stand_in_one_table_and_a_file_as_it_is() -> None:
    files = ["run/export/model.int8.onnx", "run/export/model.safetensors", "run/deployed.safetensors"]
    said: list[str] = []
    found = bench([*map(Path, ["bare", *files]), Path("bare")], seconds=0.02, say=said.append)
    # Once each, although one is named twice.
    assert [(row.network, row.form) for row in found.rows] == [
        ("bare", "PyTorch fp32"),
        ("bare", "ONNX"),
        ("bare", "ONNX int8"),
        ("run/export/model.int8.onnx", "ONNX int8"),
        ("run/export/model.safetensors", "PyTorch fp32"),
        ("run/deployed.safetensors", "PyTorch fp32"),
    ]
    assert len({(row.parameters, row.macs) for row in found.rows}) == 1
    for path, row in zip(files, found.rows[3:], strict=True):
        assert row.size == Path(path).stat().st_size
    # Made anew where nothing was exported, and nothing is left behind.
    assert found.rows[1].size == pytest.approx(Path("run/export/model.onnx").stat().st_size, rel=0.01)
    assert sum("bare has no exported" in line for line in said) == 2
    assert not Path("bare/export").exists()


def test_a_teacher_of_several_runs_has_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(path: Path, *_: object) -> tuple[list[Measurable], None]:
        own = Measurable(str(path), "f", 1, 2, 3, "cpu", (1, 1, 1), lambda images: images, *KIND)
        return [own, own._replace(network="teacher t")], None

    monkeypatch.setattr(bench_times, "opened", opened)
    found = bench([Path("a"), Path("b")], **QUICK)
    assert [row.network for row in found.rows] == ["a", "teacher t", "b"]


def test_a_run_in_half_precision_is_measured_in_both() -> None:
    shutil.copytree("run", "half")
    rewritten("half", teacher=[], precision="bf16")
    found, images = bench_networks.opened(Path("half"), "cpu", bench_networks.On(), print)
    assert [each.form for each in found] == ["PyTorch bf16", "PyTorch fp32", "ONNX", "ONNX int8"]
    assert images is not None
    half, single = (logits(each, images) for each in found[:2])
    assert torch.equal(half, ready_network(Path("half")).logits(images.pixels))
    assert torch.equal(single, ready_network(Path("run")).logits(images.pixels))
    assert not torch.equal(half, single)


def test_every_form_is_the_network_that_it_says() -> None:
    """What is measured predicts what the network predicts."""
    found, shown = bench_networks.opened(Path("run"), "cpu", bench_networks.On(), print)
    assert shown is not None
    own, floats, integers, teacher, exported = (logits(each, shown) for each in found)
    torch.testing.assert_close(floats, own, rtol=0, atol=1e-4)
    torch.testing.assert_close(exported, teacher, rtol=0, atol=1e-4)
    assert 0 < float((integers - own).abs().max()) < 0.5 * float(own.std())
    assert float((own - teacher).abs().max()) > float(own.std())


def test_without_images_noise_is_measured_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_networks, "images_to_check", lambda *_: None)
    said: list[str] = []
    found = bench([Path("bare")], seconds=0.02, say=said.append)
    assert [row.form for row in found.rows] == ["PyTorch fp32", "ONNX"]
    assert list(found.images.values()) == ["noise"]
    assert any("no int8 row of bare" in line for line in said)
    assert any("noise is measured" in line and "--data-root" in line for line in said)


def test_without_onnxruntime_there_is_pytorch_and_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(extras, "import_module", gone)
    said: list[str] = []
    found = bench([Path("run")], seconds=0.02, say=said.append)
    assert [row.form for row in found.rows] == ["PyTorch fp32", "PyTorch fp32"]
    assert any("no ONNX rows of run" in line and "pip install 'cohobate[export]'" in line for line in said)


def test_an_exported_file_of_another_network_or_cut_is_not_taken() -> None:
    shutil.copytree("run", "other")
    rewritten("other", teacher=[])
    whole = Path("other/export/model.onnx").read_bytes()
    Path("other/export/model.onnx").write_bytes(whole[: len(whole) // 2])
    said: list[str] = []
    found = bench([Path("other")], seconds=0.02, say=said.append)
    assert any("other/export/model.onnx is cut" in line for line in said)
    assert found.rows[1].size > len(whole) // 2
    # The file of the user stays as it was.
    assert len(Path("other/export/model.onnx").read_bytes()) == len(whole) // 2


def test_an_exported_file_of_another_read_out_is_not_taken() -> None:
    data = Path("run/export/model.onnx")
    said: list[str] = []
    Path("readout").mkdir()
    Path("readout/model.onnx").write_bytes(
        described(data.read_bytes(), {**OnnxNetwork(data).metadata, "readout": "ensemble"})
    )
    ready = ready_network(Path("run"))
    assert bench_networks._exported(Path("readout/model.onnx"), ready, said.append) is None
    assert bench_networks._exported(data, ready, said.append) is not None
    assert said == ["note: readout/model.onnx is of the read-out ensemble, and the run deployed student"]


# ---------------------------------------------------------------- what is said meanwhile


def test_what_cannot_be_opened_costs_the_others_nothing() -> None:
    Path("foreign.onnx").write_bytes(b"nothing")
    said: list[str] = []
    paths = [Path("foreign.onnx"), Path("run/deployed.safetensors"), Path("run/metrics.jsonl")]
    found = bench(paths, seconds=0.02, say=said.append)
    assert [row.network for row in found.rows] == ["run/deployed.safetensors"]
    assert len(said) == 2
    assert said[0].startswith("note: no row of foreign.onnx: foreign.onnx is cut")
    assert said[1].startswith("note: no row of run/metrics.jsonl: ")
    assert "is no network" in said[1]
    # A mistyped name is no network that fails: it is told before anything is measured.
    with pytest.raises(FileNotFoundError, match="rum is not there"):
        bench([Path("run/deployed.safetensors"), Path("rum")], **QUICK)
    with pytest.raises(ValueError, match=r"foreign.onnx is cut"):
        bench([paths[0], paths[2]], **QUICK)


def test_a_network_that_onnx_cannot_hold_keeps_its_other_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> None:
        raise ValueError("it has an operation that ONNX does not have")

    monkeypatch.setattr(bench_networks.Forms, "written", refuses)
    said: list[str] = []
    found = bench([Path("bare"), Path("run/deployed.safetensors")], seconds=0.02, say=said.append)
    assert [(row.network, row.form) for row in found.rows] == [
        ("bare", "PyTorch fp32"),
        ("run/deployed.safetensors", "PyTorch fp32"),
    ]
    assert said[-1] == "note: no ONNX rows of bare: it has an operation that ONNX does not have"


def test_nothing_is_said_while_something_is_being_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """A note would run into the line of the spinner, and a second spinner into the first."""
    under_way: list[str] = []

    @contextmanager
    def doing(what: str) -> Iterator[None]:
        assert not under_way
        under_way.append(what)
        try:
            yield
        finally:
            under_way.clear()

    for module in (bench_times, export_int8, export_files):
        monkeypatch.setattr(module, "doing", doing)
    said: list[str] = []

    def say(line: str) -> None:
        assert not under_way
        said.append(line)

    bench([Path("bare")], seconds=0.02, say=say)
    assert sum("is made for the measurement" in line for line in said) == 2


# ---------------------------------------------------------------- times


def test_times_by_a_clock_that_only_the_networks_move(monkeypatch: pytest.MonkeyPatch) -> None:
    """0.1 s a call and 1 ms an image: which images, in which batches, how often, and the arithmetic."""
    clock = 0.0
    monkeypatch.setattr("cohobate.commands.timing.time.perf_counter", lambda: clock)
    pixels = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1)
    seen: list[list[int]] = []

    def predict(images: Tensor) -> Tensor:
        nonlocal clock
        clock += 0.1 + 0.001 * len(images)
        seen.append(images.flatten().tolist())
        return images

    network = Measurable("n", "f", 1, 2, 3, "cpu", (1, 1, 1), predict, *KIND)
    images = {(1, 1, 1): Images(pixels, "here")}
    single = measured([network], images, [1] * 16, 0.0)
    assert single.rounds == 3
    assert single.milliseconds["0"] == pytest.approx(101)
    assert single.quartiles["0"] == pytest.approx((101, 101))
    # Ten images are repeated; one round warms up.
    assert seen == [[i % 10] for _ in range(4) for i in range(16)]
    seen.clear()
    large = measured([network], images, [BATCH], 0.0)
    assert large.milliseconds["0"] == pytest.approx(164 / 64)
    assert seen == [[i % 10 for i in range(64)]] * 4


def test_a_row_has_the_median_and_the_quartiles() -> None:
    network = Measurable("n", "f", 1, 2, 3, "cpu", (1, 1, 1), lambda images: images, *KIND)
    single, large = Times({"7": 2}, {"7": (1, 4)}, 3), Times({"7": 0.5}, {"7": (0.25, 1)}, 3)
    row = bench_times._row("7", network, single, large)
    assert row.latency == Spread(median=2, low=1, high=4)
    assert row.throughput == Spread(median=2000, low=1000, high=4000)
    assert (row.network, row.form, row.parameters, row.macs, row.size) == ("n", "f", 1, 2, 3)


def test_milliseconds_become_images_a_second() -> None:
    assert Spread(median=2, low=1, high=4).inverse == Spread(median=500, low=250, high=1000)


def example() -> Bench:
    row = Row(
        network="run",
        form="PyTorch fp32, adaptive",
        parameters=1234,
        macs=None,
        size=3 * 2**20,
        device="cuda",
        latency=Spread(median=0.5, low=0.25, high=0.75),
        throughput=Spread(median=2000, low=1000, high=3000),
    )
    return Bench(
        rows=(row,),
        processor="AMD",
        threads=1,
        batch=64,
        rounds=(51, 3),
        images={"1 x 8 x 8": "noise"},
        torch="2.13.0",
        onnxruntime=None,
    )


def test_the_table_and_what_it_says_of_itself() -> None:
    assert list(bench_rows(example())[0].values()) == [
        "run",
        "PyTorch fp32, adaptive",
        "1,234",
        "—",
        "3.00",
        "0.500 [0.250, 0.750]",
        "2,000 [1,000, 3,000]",
    ]
    notes = "\n".join(bench_notes(example()))
    for words in ("51 rounds", "3 rounds", "batches of 64", "1 thread on AMD", "quartiles", "cuda", "noise"):
        assert words in notes


def many() -> Bench:
    """Long names, and numbers as large as they become."""
    row = example().rows[0]
    slow = Spread(median=1234.5, low=1200.25, high=1300.75)
    large = Spread(median=12345, low=12001, high=12888)
    wide = {"parameters": 143_667_240, "macs": 19_600_000_000, "size": 548 * 2**20}
    rows = [
        row.model_copy(update={"network": name, "form": form, **wide, "latency": slow, "throughput": large})
        for name in ("sweeps/" + "a-long-path/" * 8 + "seed-0", "teacher [red]b[/red]")
        for form in ("PyTorch fp32, adaptive", "ONNX int8")
    ]
    return example().model_copy(update={"rows": tuple(rows)})


def test_the_table_fits_eighty_columns_and_cuts_nothing() -> None:
    printed = io.StringIO()
    Console(file=printed, width=80, markup=False).print(to_rich(many()))
    lines = printed.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert "…" not in text
    assert "".join(line.strip() for line in lines).count("sweeps/" + "a-long-path/" * 8 + "seed-0") == 1
    assert text.count("teacher [red]b[/red]") == 1
    assert text.count("latency,") == 1
    for cell in ("143,667,240", "19.60 G", "548.00", "[1,200.2, 1,300.8]", "[12,001, 12,888]", "adaptive"):
        assert text.count(cell) >= 2


def test_json_is_all_that_stdout_gets(capsys: pytest.CaptureFixture[str]) -> None:
    before = torch.get_num_threads()
    files = ["run/export/model.onnx", "run/deployed.safetensors"]
    main(["bench", *files, "--seconds", "0.02", "--threads", str(before + 1), "--format", "json"])
    found = Bench.model_validate(json.loads(capsys.readouterr().out))
    assert [row.form for row in found.rows] == ["ONNX", "PyTorch fp32"]
    assert (found.threads, torch.get_num_threads()) == (before + 1, before)


# ---------------------------------------------------------------- refusals


def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert "folders of finished runs" in refused(capsys, "bench")
    assert "is not there" in refused(capsys, "bench", "rum")
    assert "holds exported files" in refused(capsys, "bench", "run/export")
    assert "is no network" in refused(capsys, "bench", "run/metrics.jsonl")
    assert "greater than 0" in refused(capsys, "bench", "run", "--seconds", "0")
    for number in ("inf", "nan"):
        assert "finite number" in refused(capsys, "bench", "run", "--seconds", number)
    assert "finite number" in refused(capsys, "train", "baseline", "--data", "digits", "--max-minutes", "inf")
    assert "greater than or equal to 1" in refused(capsys, "bench", "run", "--threads", "0")


def test_threads_are_what_they_were_after_an_error() -> None:
    before = torch.get_num_threads()
    with pytest.raises(FileNotFoundError):
        bench_times.bench([Path("nothing")], threads=before + 1)
    assert torch.get_num_threads() == before
