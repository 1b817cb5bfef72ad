"""Processors, cores and memory of many machines, from the files that their systems have."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cohobate.config.linux import memory
from cohobate.engine.machine import Cores, commit, cores, processor

HASWELL = """\
processor\t: 0
model name\t: Intel(R) Xeon(R) CPU E5-2680 v3 @ 2.50GHz
flags\t\t: fpu sse2 ssse3 fma sse4_1 sse4_2 avx f16c avx2 bmi2

processor\t: 1
model name\t: another
flags\t\t: fpu
"""
SKYLAKE = "model name\t: Intel(R) Xeon(R) Platinum 8175M\nflags\t\t: fpu avx2 avx512f avx512bw\n"
ZEN5 = "model name\t: AMD EPYC\nflags\t\t: avx2 avx_vnni avx512f avx512_bf16 avx512_vnni\n"
SAPPHIRE_RAPIDS = (
    "model name\t: Intel(R) Xeon(R) Platinum 8481C\n"
    "flags\t\t: avx2 avx512f avx512_bf16 avx512_vnni amx_bf16 amx_tile amx_int8\n"
)
OLD = "model name\t: Intel(R) Pentium(R) 4\nflags\t\t: fpu sse sse2\n"
GRAVITON = """\
processor\t: 0
BogoMIPS\t: 2100.00
Features\t: fp asimd evtstrm aes crc32 sve asimddp svebf16 i8mm bf16
CPU implementer\t: 0x41
CPU part\t: 0xd40
"""
RASPBERRY = "model name\t: ARMv7 Processor rev 3 (v7l)\nFeatures\t: half thumb vfp neon vfpv4\n"
RISC_V = "processor\t: 0\nisa\t\t: rv64imafdc\nuarch\t\t: sifive,u74-mc\n"

PROCESSORS = [
    (HASWELL, "Intel(R) Xeon(R) CPU E5-2680 v3 @ 2.50GHz", {"AVX2"}),
    (SKYLAKE, "Intel(R) Xeon(R) Platinum 8175M", {"AVX2", "AVX-512"}),
    (ZEN5, "AMD EPYC", {"AVX2", "AVX-512", "AVX-512 bf16", "VNNI (int8)"}),
    (
        SAPPHIRE_RAPIDS,
        "Intel(R) Xeon(R) Platinum 8481C",
        {"AVX2", "AVX-512", "AVX-512 bf16", "AMX bf16", "VNNI (int8)"},
    ),
    (OLD, "Intel(R) Pentium(R) 4", set()),
    (GRAVITON, "ARM implementer 0x41, part 0xd40", {"NEON", "SVE", "bf16", "i8mm (int8)"}),
    (RASPBERRY, "ARMv7 Processor rev 3 (v7l)", {"NEON"}),
]


def machine(root: Path, **files: str) -> Path:
    """A root with these files, of which two underscores stand for a slash."""
    for name, text in files.items():
        file = root / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


@pytest.mark.parametrize(("cpuinfo", "name", "has"), PROCESSORS)
def test_what_a_processor_has(tmp_path: Path, cpuinfo: str, name: str, has: set[str]) -> None:
    found = processor(machine(tmp_path, proc__cpuinfo=cpuinfo))
    assert found.name == name
    assert found.has is not None
    assert {what for what, there in found.has.items() if there} == has


def test_nothing_is_guessed_where_the_system_does_not_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.processor", lambda: "")
    assert processor(tmp_path) == ("unknown", None)
    assert processor(machine(tmp_path, proc__cpuinfo=RISC_V)) == ("unknown", None)
    monkeypatch.setattr("platform.processor", lambda: "arm")
    assert processor(tmp_path / "nowhere") == ("arm", None)
    monkeypatch.setattr("os.sysconf", lambda name: {"SC_PHYS_PAGES": 3, "SC_PAGE_SIZE": 4096}[name])
    assert memory(tmp_path) == (3 * 4096, None, None)
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert cores(tmp_path) == (None, None, None)
    assert cores(tmp_path).usable == 1


def test_an_empty_name_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name may be empty in a virtual machine."""
    monkeypatch.setattr("platform.processor", lambda: "x86_64")
    assert processor(machine(tmp_path, proc__cpuinfo="model name\t:\nflags\t: avx2\n")).name == "x86_64"


GROUPS = [
    pytest.param({"sys__fs__cgroup__cpu.max": "150000 100000\n"}, "0::/\n", 1.5, id="version 2"),
    pytest.param({"sys__fs__cgroup__cpu.max": "max 100000\n"}, "0::/\n", None, id="no limit"),
    pytest.param(
        {"sys__fs__cgroup__a__b__cpu.max": "max 100000", "sys__fs__cgroup__a__cpu.max": "200000 100000"},
        "0::/a/b\n",
        2.0,
        id="of the group around it",
    ),
    pytest.param(
        {"sys__fs__cgroup__cpu.max": "400000 100000"}, "0::/docker/1234\n", 4.0, id="path of the host"
    ),
    pytest.param(
        {
            "sys__fs__cgroup__cpu__cpu.cfs_quota_us": "50000",
            "sys__fs__cgroup__cpu__cpu.cfs_period_us": "100000",
        },
        "3:memory:/x\n1:cpu,cpuacct:/\n",
        0.5,
        id="version 1",
    ),
    pytest.param(
        {
            "sys__fs__cgroup__cpu__cpu.cfs_quota_us": "-1",
            "sys__fs__cgroup__cpu__cpu.cfs_period_us": "100000",
        },
        "1:cpu:/\n",
        None,
        id="version 1 without a limit",
    ),
    pytest.param(
        {"sys__fs__cgroup__a__cpu.max": "300000 100000", "sys__fs__cgroup__cpu.max": "200000 100000"},
        "0::/a\n",
        2.0,
        id="the narrowest",
    ),
    pytest.param({"sys__fs__cgroup__cpu.max": "100000 0"}, "0::/\n", None, id="no period"),
    pytest.param({"sys__fs__cgroup__cpu.max": "rubbish"}, "0::/\nrubbish\n", None, id="rubbish"),
]


@pytest.mark.parametrize(("files", "group", "quota"), GROUPS)
def test_the_limit_of_the_control_group(
    tmp_path: Path, files: dict[str, str], group: str, quota: float | None
) -> None:
    assert cores(machine(tmp_path, proc__self__cgroup=group, **files)).quota == quota


def test_a_group_outside_is_not_read(tmp_path: Path) -> None:
    root = machine(tmp_path, proc__self__cgroup="0::/../..\n", **{"sys__cpu.max": "100000 100000"})
    assert cores(root).quota is None


@pytest.mark.parametrize(
    ("found", "usable"),
    [
        (Cores(8, 8, None), 8),
        (Cores(8, 2, None), 2),
        (Cores(8, None, None), 8),
        (Cores(64, 64, 2.0), 2),
        (Cores(64, 64, 3.7), 3),
        (Cores(2, 2, 0.5), 1),
        (Cores(2, 2, 16.0), 2),
    ],
)
def test_usable_cores(found: Cores, usable: int) -> None:
    assert found.usable == usable


MEMINFO = "MemTotal:       24684096 kB\nMemFree: 1 kB\nMemAvailable:   12342048 kB\n"


@pytest.mark.parametrize(
    ("files", "group", "limit"),
    [
        ({}, "", None),
        ({"sys__fs__cgroup__memory.max": "max"}, "0::/", None),
        ({"sys__fs__cgroup__a__memory.max": "1073741824"}, "0::/a", 2**30),
        ({"sys__fs__cgroup__memory__memory.limit_in_bytes": "2147483648"}, "4:memory:/", 2**31),
        ({"sys__fs__cgroup__memory__memory.limit_in_bytes": "9223372036854771712"}, "4:memory:/", None),
    ],
)
def test_memory(tmp_path: Path, files: dict[str, str], group: str, limit: int | None) -> None:
    root = machine(tmp_path, proc__meminfo=MEMINFO, proc__self__cgroup=group, **files)
    assert memory(root) == (24684096 * 1024, 12342048 * 1024, limit)


def test_this_machine() -> None:
    assert cores().logical == os.cpu_count()
    assert 1 <= cores().usable <= (os.cpu_count() or 1)
    if sys.platform == "linux":
        found = memory()
        assert found.total is not None
        assert found.available is not None
        assert 2**28 < found.available < found.total
        listed = Path("/proc/cpuinfo").read_text()
        assert processor().name in listed or "model name" not in listed


def test_the_commit_is_that_of_the_source() -> None:
    source = Path(__file__).parents[2]
    done = subprocess.run(["git", "-C", source, "rev-parse", "HEAD"], capture_output=True, text=True)
    if done.returncode:  # the source of a package, without a repository
        assert commit() is None
    else:
        assert (commit() or "").removesuffix("-dirty") in done.stdout
