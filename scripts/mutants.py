"""Plant small faults in the source, one at a time, and see whether the tests catch them.

    python scripts/mutants.py list LIST        the faults (mutants) that cosmic-ray can plant, a line each
    python scripts/mutants.py run LIST         try them in random order; goes on where an earlier run stopped
    python scripts/mutants.py survivors LIST   try those again that no test caught, after tests were added
    python scripts/mutants.py table LIST       counts by room, then those that no test caught

``list`` needs cosmic-ray and nothing of the project; the others need the project's tests and not
cosmic-ray.

A mutant costs about a second, not the ten of a fresh start: ``run`` imports torch and pytest once and forks
for each mutant. The fork sees a copy of the tree with the one file changed. It runs the tests that call the
changed function (found by running the tests once under a profiler), fastest first and those that are named
after the file before others, until one fails or ``--seconds`` of them have passed. A mutant of the module's
own level, a default for example, gets the tests that call any function of the file.

Left out of the list: operators that cannot but raise on a tensor or a number (shifts and bits), ``is`` for
``==``, messages of errors, and text that parses to the same program. Left out of the tests: compiled graphs
and several processes, of which each takes seconds.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SOURCE = Path("src/cohobate")
ROOMS = ("methods", "core", "engine")
BINARY = {
    "Add": ("Sub", "Mul"),
    "Sub": ("Add", "Mul"),
    "Mul": ("Div", "Add"),
    "Div": ("Mul", "Sub"),
    "FloorDiv": ("Div", "Mul"),
    "Mod": ("Mul", "FloorDiv"),
    "Pow": ("Mul", "Div"),
}
COMPARISON = {
    "Eq": ("NotEq", "LtE", "GtE"),
    "NotEq": ("Eq", "Lt", "Gt"),
    "Lt": ("LtE", "GtE"),
    "LtE": ("Lt", "Gt"),
    "Gt": ("GtE", "LtE"),
    "GtE": ("Gt", "Lt"),
    "Is": ("IsNot",),
    "IsNot": ("Is",),
}
OPERATORS = [
    *(f"ReplaceBinaryOperator_{one}_{two}" for one, those in BINARY.items() for two in those),
    *(f"ReplaceComparisonOperator_{one}_{two}" for one, those in COMPARISON.items() for two in those),
    *("ReplaceUnaryOperator_Delete_USub", "ReplaceUnaryOperator_Delete_Not", "NumberReplacer", "AddNot"),
    *("ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd"),
    *("ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ZeroIterationForLoop", "RemoveDecorator"),
]
TESTS = ["tests/methods", "tests/engine", "tests/recipes", "tests/papers", "tests/commands"]
TESTS += [
    "tests/test_survivors.py",
    "tests/test_core.py",
    "tests/test_contract.py",
    "tests/test_diversity.py",
    "tests/test_catalogue.py",
]
SLOW = "not compiled and not inductor and not processes"
PYTEST = ["-x", "-q", "-p", "no:cacheprovider", "-n", "0", "--assert=plain"]
LIBRARIES = ("torch", "numpy", "pydantic", "yaml", "PIL", "rich", "sklearn", "scipy", "tyro", "safetensors")
LIBRARIES += ("matplotlib", "jinja2", "filelock")
MEMORY = 12 << 30

# ---------------------------------------------------------------- the mutants


def write_list(path: Path) -> None:
    """Write the mutants of all rooms, a JSON object a line: where, and which text takes which place."""
    with path.open("w") as lines:
        for room in ROOMS:
            for file in sorted((ROOT / SOURCE / room).rglob("*.py")):
                for mutant in mutants_of(file):
                    lines.write(json.dumps(mutant) + "\n")


def mutants_of(file: Path) -> Iterator[dict[str, Any]]:
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    source = file.read_text()
    tree = ast.parse(source)
    seen = {ast.dump(tree)}
    raises = [(node.lineno, node.end_lineno) for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    for name in OPERATORS:
        operator = get_operator(f"core/{name}")()
        places = [p for node in ast_nodes(get_ast(source)) for p in operator.mutation_positions(node)]
        for occurrence, ((line, column), _) in enumerate(places):
            if any(start <= line <= end for start, end in raises):
                continue
            text = mutate_code(source, operator, occurrence)
            try:
                program = ast.dump(ast.parse(text))
            except SyntaxError:
                continue
            if program in seen:
                continue
            seen.add(program)
            start, end, new = difference(source, text)
            place = {"file": str(file.relative_to(ROOT)), "line": line, "column": column, "operator": name}
            yield {**place, "function": function_at(tree, line), "start": start, "end": end, "new": new}


def function_at(tree: ast.Module, line: int) -> int | None:
    """First line of the innermost function whose body holds the line, as code objects count; else None."""
    found = None
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.body[0].lineno <= line <= (node.end_lineno or 0):
            found = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    return found


def difference(one: str, two: str) -> tuple[int, int, str]:
    """``one[:start] + new + one[end:] == two``, with as little as possible between."""
    start = _alike(one, two)
    tail = _alike(one[start:][::-1], two[start:][::-1])
    return start, len(one) - tail, two[start : len(two) - tail]


def _alike(one: str, two: str) -> int:
    """How many characters, from the first on, are the same."""
    pairs = zip(one, two, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(two)))


# ---------------------------------------------------------------- which tests


class Profiler:
    """Which functions of the source each test calls, and how long it takes."""

    def __init__(self) -> None:
        self.tests: dict[str, Any] = {}

    def pytest_runtest_protocol(self, item: Any) -> None:
        self.called: set[tuple[str, int]] = set()
        self.began = time.process_time()
        sys.setprofile(self._note)

    def _note(self, frame: Any, event: str, _: Any) -> None:
        if event == "call" and "/src/cohobate/" in (name := frame.f_code.co_filename):
            self.called.add((name[name.index("src/cohobate/") :], frame.f_code.co_firstlineno))

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        sys.setprofile(None)
        self.tests[nodeid] = {"seconds": time.process_time() - self.began, "calls": sorted(self.called)}


def profile(path: Path) -> None:
    """Run the tests once and write what each calls."""
    import pytest

    profiler = Profiler()
    pytest.main([*TESTS, "-q", "-p", "no:cacheprovider", "-n", "0", "-k", SLOW], plugins=[profiler])
    modules = [name for name in sys.modules if not name.startswith(("test", "__", "zoo", "_pytest"))]
    path.write_text(json.dumps({"tests": profiler.tests, "modules": sorted(modules)}))


def tests_for(mutant: dict[str, Any], tests: dict[str, Any]) -> list[str]:
    """The tests that call the changed function, those named after the file first, then the fastest."""
    file, line = mutant["file"], mutant["function"]
    calls = {
        name: test["seconds"]
        for name, test in tests.items()
        if any(f == file and (line is None or number == line) for f, number in test["calls"])
    }
    if not calls and line is not None:  # called once, before the first test that needs it: a cache
        return tests_for({**mutant, "function": None}, tests)
    named = f"test_{Path(file).stem}"
    return sorted(calls, key=lambda name: (named not in name, calls[name]))


# ---------------------------------------------------------------- one mutant


class Chosen:
    """Keeps these tests, in their order, and remembers the first that fails."""

    def __init__(self, names: list[str]) -> None:
        self.place = {name: i for i, name in enumerate(names)}
        self.failed: str | None = None

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self.place), key=lambda i: self.place[i.nodeid]
        )

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and self.failed is None:
            self.failed = report.nodeid


def run_tests(names: list[str], answer: Connection) -> None:
    """In the fork: run the tests until one fails, and send which."""
    import pytest

    os.setsid()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sys.dont_write_bytecode = True
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    first = names[0].partition("::")[0]
    own = [name for name in names if name.startswith(f"{first}::")]
    for part in (own, [name for name in names if name not in set(own)]):
        if not part:
            continue
        chosen = Chosen(part)
        files = list(dict.fromkeys(name.partition("::")[0] for name in part))
        code = pytest.main([*files, *PYTEST], plugins=[chosen])
        if code != 0:
            answer.send(chosen.failed or f"pytest ended with {int(code)}")
            break
    else:
        answer.send(None)
    answer.close()
    os._exit(0)


def attempt(names: list[str], seconds: float) -> str | None:
    """Fork, run the tests, and return the one that fails; None if all pass."""
    context = get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=run_tests, args=(names, sender))
    process.start()
    sender.close()
    limit = time.monotonic() + seconds
    try:
        while time.monotonic() < limit:
            if receiver.poll(0.2):
                return receiver.recv()  # type: ignore[no-any-return]
        return "no end"
    except EOFError:
        return "the process died"
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid or 0, signal.SIGKILL)
        process.join()


# ---------------------------------------------------------------- all of them


def serve(room: str, modules: list[str], orders: Connection) -> None:
    """Import what no mutant of the room can change, then try mutants as they are ordered."""
    others = {"methods": ("core", "config", "data", "models", "engine"), "core": ("config",)}
    others["engine"] = ("core", "config", "data", "models", "methods")
    kept = tuple(f"cohobate.{other}" for other in others[room])
    for name in modules:
        if name.partition(".")[0] in LIBRARIES or name.startswith(kept):
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    orders.send("ready")
    while (order := orders.recv()) is not None:
        orders.send(attempt(*order))


def run(path: Path, minutes: float, seconds: float, seed: int, survivors: bool) -> None:
    tree = Path(tempfile.mkdtemp(prefix="mutants-"))
    for name in subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tree / name)
    os.chdir(tree)
    os.environ |= {"PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    sys.path[:0] = [str(tree / "src"), str(tree / "tests")]
    try:
        _run(path, tree, minutes * 60, seconds, seed, survivors)
    finally:
        shutil.rmtree(tree, ignore_errors=True)


def _run(path: Path, tree: Path, time_left: float, seconds: float, seed: int, survivors: bool) -> None:
    until = time.monotonic() + time_left
    tests = path.with_suffix(".tests")
    if not tests.exists() or survivors:
        subprocess.run([sys.executable, __file__, "profile", str(tests)], check=True)
    known = json.loads(tests.read_text())
    mutants = [json.loads(line) for line in path.read_text().splitlines()]
    random.Random(seed).shuffle(mutants)
    results = path.with_suffix(".results")
    latest = {key(r): r for r in read(results)}
    if survivors:
        mutants = [m for m in mutants if key(m) in latest and latest[key(m)]["caught"] is None]
    else:
        mutants = [m for m in mutants if key(m) not in latest]
    servers: dict[str, Connection] = {}
    controlled: set[str] = set()
    broken: set[str] = set()
    context = get_context("fork")
    for room in ROOMS:
        servers[room], theirs = context.Pipe()
        context.Process(target=serve, args=(room, known["modules"], theirs), daemon=False).start()
        servers[room].recv()
    with results.open("a") as lines:
        for mutant in mutants:
            if time.monotonic() > until:
                break
            names, spent = [], 0.0
            for name in tests_for(mutant, known["tests"]):
                if name in broken:
                    continue
                spent += known["tests"][name]["seconds"]
                if names and spent > seconds:
                    break
                names.append(name)
            room, limit = mutant["file"].split("/")[2], 60 + 10 * min(spent, seconds)
            while names and mutant["file"] not in controlled:
                servers[room].send((names, limit))
                wrong = servers[room].recv()
                if wrong is None:
                    controlled.add(mutant["file"])
                elif wrong in names:
                    print(f"left out, since it fails in a fork without any mutant: {wrong}", file=sys.stderr)
                    broken.add(wrong)
                    names.remove(wrong)
                else:
                    raise SystemExit(f"without any mutant the tests of {mutant['file']} fail: {wrong}")
            file = tree / mutant["file"]
            before, stat = file.read_text(), file.stat()
            file.write_text(before[: mutant["start"]] + mutant["new"] + before[mutant["end"] :])
            began = time.monotonic()
            caught = None
            if names:
                servers[room].send((names, limit))
                caught = servers[room].recv()
            file.write_text(before)
            os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
            result = {**mutant, "caught": caught, "tests": len(names)}
            lines.write(json.dumps({**result, "took": round(time.monotonic() - began, 1)}) + "\n")
            lines.flush()
    for server in servers.values():
        server.send(None)


def key(mutant: dict[str, Any]) -> tuple[Any, ...]:
    return mutant["file"], mutant["start"], mutant["end"], mutant["new"]


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(path: Path) -> None:
    """Print counts by room, and each mutant that no test caught, as the line that it makes."""
    latest = {key(r): r for r in read(path.with_suffix(".results"))}
    all_ = Counter(m["file"].split("/")[2] for m in read(path))
    tried = Counter(m["file"].split("/")[2] for m in latest.values())
    caught = Counter(m["file"].split("/")[2] for m in latest.values() if m["caught"])
    for room in ROOMS:
        print(f"{room}: {all_[room]} mutants, {tried[room]} tried, {caught[room]} caught")
    for m in sorted(latest.values(), key=lambda m: (m["file"], m["line"])):
        if m["caught"] is None:
            source = (ROOT / m["file"]).read_text()
            begin = source.rfind("\n", 0, m["start"]) + 1
            end = source.find("\n", m["end"])
            old, new = (
                source[begin:end].strip(),
                source[begin : m["start"]] + m["new"] + source[m["end"] : end],
            )
            print(f"{m['file']}:{m['line']} {m['operator']}\n    {old}\n    {new.strip()}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("step", choices=["list", "run", "survivors", "table", "profile"])
    parser.add_argument("path", type=Path, help="file of the mutants, a line each")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--seconds", type=float, default=10.0, help="of tests for each mutant, at most")
    parser.add_argument("--seed", type=int, default=0, help="of the order in which they are tried")
    chosen = parser.parse_args()
    path = chosen.path.resolve()
    if chosen.step == "list":
        write_list(path)
    elif chosen.step == "profile":
        profile(path)
    elif chosen.step == "table":
        table(path)
    else:
        run(path, chosen.minutes, chosen.seconds, chosen.seed, chosen.step == "survivors")


if __name__ == "__main__":
    main()
