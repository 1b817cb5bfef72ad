"""``cohobate doctor`` on this machine, and on one where nearly everything is broken."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from cohobate.cli import main
from cohobate.commands import doctor, doctor_facts, doctor_hardware
from cohobate.commands.doctor import Private, put, written
from cohobate.commands.doctor_advice import TOPICS
from cohobate.config.extras import EXTRAS
from cohobate.data.sets import SETS
from cohobate.engine.machine import Processor

SOURCE = Path(doctor.__file__).parents[2]

LIBRARIES = "optional libraries"


@pytest.fixture
def without_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    """No library is imported in another process, which takes seconds."""
    monkeypatch.setattr(doctor_facts, "extras", lambda: dict.fromkeys(EXTRAS, "left out"))


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    main(["doctor", "--format", "json", *arguments])
    return json.loads(capsys.readouterr().out)


def typed(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as a person types it, its output into a pipe."""
    return subprocess.run(
        [sys.executable, "-m", "cohobate.cli", "doctor", *arguments],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(SOURCE), **environment},
    )


# ---------------------------------------------------------------- this machine


def test_the_report_of_this_machine(tmp_path: Path) -> None:
    """Everything for real, in a terminal's colours if it had any."""
    done = typed("--data-root", str(tmp_path), FORCE_COLOR="1", COLUMNS="40")
    assert (done.returncode, done.stderr) == (0, "")
    text = done.stdout
    assert text.isascii(), "no lines of boxes"
    assert "\x1b" not in text
    lines = text.splitlines()
    assert all(len(line) <= 100 or max(map(len, line.split())) > 60 for line in lines), "but for a path"
    titles = [line for line in lines if line and not line.startswith(" ")]
    assert titles == list(doctor_facts.sections(tmp_path))
    assert "could not be examined" not in text
    rows = dict(line.strip().partition(": ")[::2] for line in lines if re.match(" {2}[^ ]", line))
    assert rows["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert rows["--data-root"] == str(tmp_path)
    assert set(SETS) | set(EXTRAS) <= set(rows)
    for name, extra in EXTRAS.items():
        absent = "would add" in rows[name]
        assert (f"pip install 'cohobate[{name}]'" in text) is absent
        assert absent or extra.modules[0] in rows[name]
    assert rows["fp32 channels_last"].endswith(" ms")
    assert set(rows) & set(TOPICS)


def test_the_same_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str], without_imports: None) -> None:
    report = as_json(capsys, "--data-root", str(tmp_path))
    assert list(report) == list(doctor_facts.sections(tmp_path))
    assert report["data sets"]["cifar10"].startswith("not found; looked for cifar-10-batches-py/")
    assert report["data sets"]["digits"].endswith("KiB")
    assert set(report["advice"]) <= set(TOPICS)
    measured = next(rows for title, rows in report.items() if "measured" in title)
    assert measured["fastest"] in measured
    state = torch.random.get_rng_state()
    doctor_facts._measured()
    assert torch.equal(state, torch.random.get_rng_state()), "it draws nothing from the caller's stream"


def test_the_measurement_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that takes long, in bf16 on an old processor for one, is not repeated."""
    from cohobate.engine import probe

    calls: list[tuple[str, int]] = []

    def step(method: Any, batch: Any, settings: Any, rounds: int = 3) -> float:
        calls.append((settings.precision, rounds))
        return {"fp32": 0.01, "bf16": 1.0}[settings.precision] / (1 + rounds)

    monkeypatch.setattr(probe, "step_seconds", step)
    rows = doctor_facts._measured()
    assert calls == [("fp32", 0), ("fp32", 3), ("fp32", 0), ("fp32", 3), ("bf16", 0)]
    assert rows["fp32 contiguous"] == "2.5 ms"
    assert rows["bf16 channels_last"] == "1000.0 ms"
    assert rows["fastest"].startswith("fp32")


def test_data_sets_that_are_there_or_not_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], without_imports: None
) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in ("data_batch_1", "data_batch_2", "batches.meta"):
        (folder / name).write_bytes(bytes(2**20))
    (tmp_path / "cifar-100-python.tar.gz").write_bytes(bytes(512 * 2**10))
    found = as_json(capsys, "--data-root", str(tmp_path))["data sets"]
    assert found["cifar10"] == (
        "cifar-10-batches-py: 3 files, 3.0 MiB; without data_batch_3, data_batch_4, data_batch_5, test_batch"
    )
    assert found["cifar100"] == "cifar-100-python.tar.gz: 1 file, 512 KiB"
    missing = as_json(capsys, "--data-root", str(tmp_path / "elsewhere"))
    assert missing["data sets"]["--data-root"] == f"{tmp_path / 'elsewhere'}, which is not there"
    assert missing["disk"]["data"].startswith(f"{tmp_path}: ")


# ---------------------------------------------------------------- broken machines


def test_a_torch_that_cannot_be_imported(tmp_path: Path) -> None:
    """The most frequent reason for a report: what needs no torch is reported all the same."""
    library = tmp_path / "torch"
    library.mkdir()
    (library / "__init__.py").write_text("raise OSError('libcudart.so.13: cannot open shared object file')")
    done = typed("--data-root", str(tmp_path), PYTHONPATH=f"{tmp_path}{os.pathsep}{SOURCE}")
    assert (done.returncode, done.stderr) == (0, "")
    said = "could not be examined: OSError: libcudart.so.13: cannot open shared object file"
    sections = dict(part.partition("\n")[::2] for part in done.stdout.split("\n\n"))
    assert [title for title, rows in sections.items() if said in rows] == [
        "torch",
        "devices",
        "cores and threads",
        "data sets",
        *(title for title in sections if "measured" in title),
        "advice",
    ]
    assert "total: " in sections["memory"]
    assert "name: " in sections["processor"]
    assert "free" in sections["disk"]


def test_a_processor_that_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_hardware, "processor", lambda: Processor("arm", None))
    assert doctor_hardware.processor_rows() == {"name": "arm", "has": "unknown: this system does not say"}
    monkeypatch.setattr(
        doctor_hardware, "processor", lambda: Processor("x", {"AVX2": True, "AVX-512": False})
    )
    assert doctor_hardware.processor_rows() == {"name": "x", "has": "AVX2", "has not": "AVX-512"}


def test_gpus_and_a_warning_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    import warnings

    class About:
        name, total_memory, major, minor = "NVIDIA H200", 141 * 2**30, 9, 0

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda index: About)
    rows = doctor_hardware.device_rows()
    assert rows["cuda:0"] == rows["cuda:1"] == "NVIDIA H200, 141.0 GiB, capability 9.0"
    assert rows["--device auto"] == "takes cuda:0"
    assert "torch warns" not in rows

    def too_old() -> bool:
        warnings.warn("CUDA initialization: the driver is too old\nmore words", stacklevel=1)
        return False

    monkeypatch.setattr("torch.cuda.is_available", too_old)
    rows = doctor_hardware.device_rows()
    assert rows["torch warns"] == "CUDA initialization: the driver is too old"
    assert (rows["CUDA"], rows["--device auto"]) == ("no GPU", "takes cpu")


def test_a_section_that_fails_ends_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, without_imports: None
) -> None:
    def fails(*_: object) -> Mapping[str, str]:
        raise PermissionError(13, "Permission denied", "/sys/devices")

    monkeypatch.setattr(doctor_facts, "memory_rows", fails)
    monkeypatch.setattr("shutil.disk_usage", fails)
    monkeypatch.setattr("cohobate.data.sets.cifar.find", fails)
    report = as_json(capsys, "--data-root", str(tmp_path))
    said = "PermissionError: [Errno 13] Permission denied: '/sys/devices'"
    assert report["memory"] == report["disk"] == report["advice"] == {"could not be examined": said}
    assert report["data sets"]["cifar10"] == f"cannot be looked for in {tmp_path}: Permission denied"
    assert report["data sets"]["digits"].endswith("KiB")


def test_compilers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert doctor_facts._compilers()["C++"] == "none: looked for g++"
    assert doctor_facts._compilers()["C"].startswith("none")
    assert doctor_facts.facts().cxx == ("g++", False)
    for name in ("g++-14", "clang"):
        (tmp_path / name).touch(0o755)
    monkeypatch.setenv("CXX", "g++-14")
    assert doctor_facts._compilers()["C++"] == str(tmp_path / "g++-14")
    assert doctor_facts._compilers()["C"] == str(tmp_path / "clang")
    assert (doctor_facts.facts().cxx, doctor_facts.facts().c) == (("g++-14", True), True)


# ---------------------------------------------------------------- what a report may show


def test_home_and_user_are_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "people" / "ann.lee"
    home.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr("getpass.getuser", lambda: "ann.lee")
    hidden = Private().hidden
    assert hidden(f"{home}: 3 GiB free") == "~: 3 GiB free"
    assert hidden(f"cannot open '{home}/lib/x.so' ({home})") == "cannot open '~/lib/x.so' (~)"
    assert hidden(f"{home}er/x") == f"{home}er/x"
    assert hidden("/scratch/ann.lee/cifar, C:\\ann.lee\\x") == "/scratch/USER/cifar, C:\\USER\\x"
    assert hidden("/scratch/ann.lee-2, annxlee, ann.lee says") == "/scratch/ann.lee-2, annxlee, ann.lee says"


def test_a_user_without_a_name_or_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> str:
        raise OSError("no such user")

    monkeypatch.setattr("getpass.getuser", unknown)
    monkeypatch.setenv("HOME", "/")
    assert Private().hidden("/usr/lib, /: 3 GiB free") == "/usr/lib, /: 3 GiB free"


def test_no_secret_of_the_environment(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    without_imports: None,
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("HOME", str(tmp_path))
    main(["doctor", "--data-root", str(tmp_path / "data")])
    said = capsys.readouterr().out
    assert "secret" not in said
    assert "OMP_NUM_THREADS: 1" in said
    assert "--data-root: ~/data, which is not there" in said
    assert str(tmp_path) not in said.replace(str(Path.cwd()), "")


def test_lines_are_short_and_commands_whole() -> None:
    text = written("libraries", {"timm": f"{'word ' * 40}\npip install 'cohobate[timm]'", "path": "/x" * 80})
    lines = text.splitlines()
    assert lines[:2] == ["libraries", f"  timm: {'word ' * 18}".rstrip()]
    assert "      pip install 'cohobate[timm]'" in lines
    assert [line.strip().removeprefix("path: ") for line in lines if len(line) > 100] == ["/x" * 80]


def test_an_output_that_cannot_hold_a_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    """A path may hold what an output in ASCII, or no output at all, can write."""
    for encoding, shown in (("ascii", b"gr\\xf6\\xdfe \\udcff"), ("utf-8", "größe \\udcff".encode())):
        written_to = io.BytesIO()
        monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written_to, encoding=encoding))
        put("größe \udcff")
        assert written_to.getvalue().strip() == shown


def test_help_and_a_wrong_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["doctor", "--data-rot", "x"])
    assert stop.value.code == 2
    assert "--data-root" in capsys.readouterr().err
