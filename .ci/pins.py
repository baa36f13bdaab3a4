#!/usr/bin/env python3
"""Which version of everything is installed, written down in one place.

pyproject.toml says what the engine can work with (ranges), and in `[tool.uv]` which exact version
of each package, whoever asked for it, is installed: `uv sync`, `uv run` and CI obey that without a
lock file. `requirements/` holds the same for deployments, with hashes, for pip or uv:
`deploy.txt` is what the engine needs to run, `build.txt` what makes its wheel.

    .ci/pins.py                    pin what is new, forget what nobody needs, write requirements/
    .ci/pins.py --upgrade          the newest of everything that the ranges allow
    .ci/pins.py --upgrade NAME...  the newest of these alone
    .ci/pins.py --outdated         what --upgrade would change, and what the ranges hold back

Resolved away from the checkout, so that a lock file lying there changes nothing.
"""

import argparse
import re
import subprocess
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = ROOT / "pyproject.toml"
REQUIREMENTS = ROOT / "requirements"
TREE = "constraint-dependencies"
BUILD = "build-constraint-dependencies"

Pins = dict[str, list[str]]
"""A package's name to its pins: one, or one for each marker where versions differ."""


def main() -> None:
    """Parse, do the one thing asked for, say what changed."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    what = asked.add_mutually_exclusive_group()
    what.add_argument("--upgrade", nargs="*", metavar="NAME", help="all, or the packages named")
    what.add_argument("--outdated", action="store_true", help="show, and change nothing")
    options = asked.parse_args()

    before = PYPROJECT.read_text()
    if options.outdated:
        show_outdated(before)
        return
    free = None if options.upgrade is None else [normal(name) for name in options.upgrade]
    after = pinned(before, free)
    PYPROJECT.write_text(after)
    export(after)
    print("\n".join(changes(pins_of(before), pins_of(after))) or "nothing changed")


def pinned(pyproject: str, free: list[str] | None) -> str:
    """pyproject.toml pinned anew; what is pinned stays, but for the `free` packages ([] = all)."""
    held = {
        table: [
            pin
            for pin in tool_uv(pyproject).get(table, [])
            if free is None or (free and name_of(pin) not in free)
        ]
        for table in (TREE, BUILD)
    }
    loose = with_pins(with_pins(pyproject, TREE, held[TREE]), BUILD, held[BUILD])
    return with_pins(
        with_pins(loose, TREE, exact(resolve_tree(loose))), BUILD, exact(resolve_build(loose))
    )


def resolve_tree(pyproject: str) -> list[str]:
    """`name==version ; marker` of everything in any group or extra, on any Python and machine."""
    every = ("--all-groups", "--all-extras", "--no-hashes", "--no-annotate")
    return uv_export(pyproject, *every).splitlines()


def resolve_build(pyproject: str, *options: str) -> list[str]:
    """The same of what builds the wheel, which no lock file knows."""
    wanted = tomllib.loads(pyproject)["build-system"]["requires"]
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder, "constraints.txt")
        constraints.write_text("\n".join(tool_uv(pyproject).get(BUILD, [])))
        command = ["uv", "pip", "compile", "--quiet", "--no-config", "--universal", "--no-header"]
        command += ["--python-version", "3.11", "--constraints", str(constraints)]
        command += options or ("--no-annotate",)
        return run([*command, "-"], cwd=folder, given="\n".join(wanted)).splitlines()


def uv_export(pyproject: str, *options: str) -> str:
    """Resolve in a folder of its own and print as requirements, without ourselves or any host."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "pyproject.toml").write_text(pyproject)
        command = ["uv", "export", "--quiet", "--no-header", "--no-emit-project"]
        return run([*command, *options], cwd=folder)


def export(pyproject: str) -> None:
    """Write `requirements/`: hashed, each with who asked for it."""
    REQUIREMENTS.mkdir(exist_ok=True)
    (REQUIREMENTS / "deploy.txt").write_text(uv_export(pyproject, "--no-default-groups"))
    build = resolve_build(pyproject, "--generate-hashes")
    (REQUIREMENTS / "build.txt").write_text("\n".join(build) + "\n")


def show_outdated(pyproject: str) -> None:
    """Two lists: what the ranges would let in today, and what is newer but kept out by somebody."""
    newest = pinned(pyproject, [])
    print(
        "\n".join(changes(pins_of(pyproject), pins_of(newest)))
        or "Everything is as new as the ranges allow."
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "pyproject.toml").write_text(newest)
        tree = run(["uv", "tree", "--quiet", "--universal", "--outdated"], cwd=folder)
    kept = re.findall(r"(\S+) v(\S+).*\(latest: v(\S+)\)", tree)
    print("\nKept back by a range, ours or another package's:")
    print("\n".join(f"{n}: {v} (newest {w})" for n, v, w in sorted(set(kept))) or "nothing")


def exact(lines: list[str]) -> list[str]:
    """Pins for pyproject: a marker only where a package has several versions."""
    by_name: Pins = {}
    for line in lines:
        if line.strip():
            by_name.setdefault(name_of(line), []).append(" ".join(line.split()))
    several = {name for name, pins in by_name.items() if len(pins) > 1}
    return [
        pin if name in several else pin.partition(" ;")[0]
        for name, pins in sorted(by_name.items())
        for pin in pins
    ]


def with_pins(pyproject: str, table: str, pins: list[str]) -> str:
    """pyproject's text with one list replaced and nothing else touched."""
    block = "".join(f'  "{pin}",\n' for pin in pins)
    text, found = re.subn(
        rf"^{table} = \[\n.*?^\]$", f"{table} = [\n{block}]", pyproject, flags=re.M | re.S
    )
    if found != 1:
        raise SystemExit(f"pyproject.toml: expected one list `{table}` in [tool.uv], found {found}")
    return text


def changes(before: Pins, after: Pins) -> list[str]:
    """One line a package whose pins differ."""
    return [
        f"{name}: {versions(before, name)} -> {versions(after, name)}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def versions(pins: Pins, name: str) -> str:
    """What a package is pinned to."""
    return ", ".join(pin.partition("==")[2] for pin in pins.get(name, [])) or "none"


def pins_of(pyproject: str) -> Pins:
    """All pins of pyproject.toml by package; the build's are told apart from the tree's."""
    found: Pins = {}
    for table, suffix in ((TREE, ""), (BUILD, " (build)")):
        for pin in tool_uv(pyproject).get(table, []):
            found.setdefault(name_of(pin) + suffix, []).append(pin)
    return found


def tool_uv(pyproject: str) -> dict[str, list[str]]:
    """uv's table of pyproject.toml."""
    table: dict[str, list[str]] = tomllib.loads(pyproject)["tool"]["uv"]
    return table


def name_of(requirement: str) -> str:
    """The package a requirement is about."""
    return normal(re.split(r"[\s=<>~!;\[]", requirement, maxsplit=1)[0])


def normal(name: str) -> str:
    """A package's name as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def run(command: list[str], cwd: str | Path, given: str = "") -> str:
    """A command's output; where it fails, what it said is all that the user needs."""
    try:
        done = subprocess.run(
            command, cwd=cwd, input=given, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise SystemExit(f"{command[0]} is not installed: pip install {command[0]}") from None
    if done.returncode:
        raise SystemExit(done.stderr.strip() or f"{command[0]} failed ({done.returncode})")
    return done.stdout


if __name__ == "__main__":
    main()
