"""The tables of docs/RESIDUALS.md against ``printed.yaml``, and what the command of each row would train."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from documented import options_of

from cohobate.config.groups import Training

PAGE = Path(__file__).parent.parent.parent / "docs" / "RESIDUALS.md"
TABLES: dict[int, list[dict[str, Any]]] = yaml.safe_load(
    Path(__file__).with_name("printed.yaml").read_text()
)["reskd"]["tables"]
MFLOPS = {"Res110": [255, 255], "Res20": [41, 41], "Res20-14": [68, 68]}
"""Of table 4, where no image leaves early."""


class Row(NamedTuple):
    """A row of a table of the page."""

    cells: dict[str, str]

    @property
    def name(self) -> str:
        return self.cells["row"]

    @property
    def depths(self) -> list[int]:
        return list(map(int, self.name.split()[0].rstrip(",").removeprefix("Res").split("-")))

    @property
    def words(self) -> list[str]:
        return shlex.split(self.cells["command"].strip("`"))[1:]

    @property
    def readout(self) -> str:
        return self.cells["read-out"].strip("`")


@cache
def rows(table: int) -> list[Row]:
    """Of the table whose heading begins with its number."""
    section = PAGE.read_text().split(f"### Table {table}:")[1].split("\n###")[0]
    lines = re.findall(r"^\| (.*) \|$", section, re.MULTILINE)
    heads, _, *others = ([cell.strip() for cell in line.split(" | ")] for line in lines)
    return [Row(dict(zip(heads, cells, strict=True))) for cells in others]


ROWS = [(table, number) for table, printed in TABLES.items() for number in range(len(printed))]


@pytest.mark.parametrize("table", TABLES)
def test_a_table_has_the_rows_and_the_numbers_of_the_paper(table: int) -> None:
    found, printed = rows(table), TABLES[table]
    assert [row.name.removesuffix(", adaptive") for row in found] == [row["row"] for row in printed]
    assert [row.cells["accuracy, %"] for row in found] == [" / ".join(row["accuracy"]) for row in printed]
    assert [row.readout == "adaptive" for row in found] == ["adaptive" in row for row in printed]
    if table == 4:
        want = [row.get("adaptive", MFLOPS[row["row"].split()[0]]) for row in printed]
        assert [row.cells["MFLOPs"] for row in found] == [" / ".join(map(str, each)) for each in want]
    if table == 8:
        pairs = [(row.get("l2", ""), row.get("gi", "")) for row in printed]
        assert [(row.cells["L2 to T"], row.cells["GI / C_1 to T"]) for row in found] == pairs


@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
@pytest.mark.parametrize(("table", "number"), ROWS)
def test_the_command_of_a_row(table: int, number: int, data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It trains the networks of the row by its method, with the set-up; the read-out is one that it has."""
    row, printed = rows(table)[number], TABLES[table][number]
    words = [word.replace("cifar10", data) for word in row.words]
    if "adaptive" in printed:
        trained = next(each for each in rows(table) if f"{each.name}, adaptive" == row.name)
        assert words == ["evaluate", out_of(trained, data), "--adaptive"]
        return
    (config,) = options_of(words, monkeypatch)
    method = words[1]
    assert (config.data, config.epochs, config.nesterov) == (data, 250, False)
    teachers = () if method == "baseline" else ("resnet110:shortcut=padding",)
    assert config.teacher == teachers
    assert list(map(depth, members(config, method, row.readout))) == row.depths
    assert (method, *underneath(config, method)) == expected(row)


def out_of(row: Row, data: str) -> str:
    return row.words[row.words.index("--out") + 1].replace("cifar10", data)


def members(config: Training, method: str, readout: str) -> list[str]:
    """Models of the networks whose logits the read-out adds up."""
    others = {"reskd": "res_students", "ensemble": "members", "trained_together": "members"}
    every = [config.model, *(getattr(config, others[method]) if method in others else ())]
    if readout.startswith("S_"):
        assert method == "reskd"
        assert int(readout[2:]) < len(every) - 1
        return every[: int(readout[2:]) + 1]
    assert readout == ("network" if method == "baseline" else "student")
    return every


def depth(spec: str) -> int:
    name, _, shortcut = spec.partition(":")
    assert shortcut == "shortcut=padding"
    return int(name.removeprefix("resnet"))


def underneath(config: Any, method: str) -> tuple[Any, ...]:
    """How the method learns: which method in every stage, by which loss, and where it stops."""
    return (config.via, config.loss, config.stop_share) if method == "reskd" else ()


def expected(row: Row) -> tuple[Any, ...]:
    """Method, and of a ResKD's stages the same."""
    words = set(re.split(r"[ ,()]+", row.name))
    if row.depths == [110] or "SGD" in words:
        return ("baseline",)
    if row.readout == "student" and row.depths == [20]:
        return ("l2",)
    for name in ("ensemble", "trained_together"):
        if name.split("_")[0] in words:
            return (name,)
    via = next((each.lower() for each in ("DML", "RKD") if each in words), "kd")
    return "reskd", via, "kl" if "KL" in words else "l2", None


def test_one_command_makes_one_run() -> None:
    """Commands that differ write into folders that differ, and the same folder is of one command."""
    commands: dict[str, set[tuple[str, ...]]] = {}
    for row in (row for table in TABLES for row in rows(table)):
        if "--out" in row.words:
            commands.setdefault(out_of(row, "cifar10"), set()).add(tuple(row.words))
    assert len(commands) > 8
    assert {folder: len(each) for folder, each in commands.items()} == dict.fromkeys(commands, 1)


def test_folders_that_are_read_are_those_of_a_row() -> None:
    """Of `evaluate` and `residuals` on the page."""
    text = PAGE.read_text()
    written = set(re.findall(r"--out (runs/cifar\S+?)`", text))
    read = set(re.findall(r"(runs/cifar[\w/-]+)", text)) - {"runs/cifar100/20-14"}
    assert read == written
