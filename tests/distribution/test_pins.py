"""What is installed is written down: exact versions in pyproject, and hashed for deployments."""

import re
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
UV = PYPROJECT["tool"]["uv"]
MEND = "run .ci/pins.py"

# the interpreters and machines that we say we run on
PYTHONS = [
    {"python_version": minor, "python_full_version": full}
    for minor, full in (
        ("3.11", "3.11.0"),
        ("3.11", "3.11.9"),
        ("3.12", "3.12.1"),
        ("3.13", "3.13.0"),
    )
]
MACHINES = [
    {"sys_platform": "linux", "platform_machine": "x86_64"},
    {"sys_platform": "linux", "platform_machine": "aarch64"},
    {"sys_platform": "darwin", "platform_machine": "arm64"},
]
ENVIRONMENTS = [python | machine for python in PYTHONS for machine in MACHINES]


def named() -> list[Requirement]:
    """Every requirement in pyproject, whatever asks for it."""
    project = PYPROJECT["project"]
    lists = [
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *PYPROJECT["dependency-groups"].values(),
    ]
    return [Requirement(line) for requirements in lists for line in requirements]


def pins(lines: list[str]) -> dict[str, list[Requirement]]:
    """Pins by package."""
    found: dict[str, list[Requirement]] = {}
    for line in lines:
        pin = Requirement(line)
        found.setdefault(canonicalize_name(pin.name), []).append(pin)
    return found


def version(pin: Requirement) -> str:
    """The one version that a pin lets in."""
    (only,) = pin.specifier
    assert only.operator == "==", f"{pin} is no exact version"
    assert not only.version.endswith("*"), f"{pin} is no exact version"
    return only.version


def wanted(pinned: list[Requirement], environment: dict[str, str]) -> list[str]:
    """The versions that hold in an environment."""
    return [
        version(pin) for pin in pinned if pin.marker is None or pin.marker.evaluate(environment)
    ]


def exported(name: str) -> list[str]:
    """A requirements file's entries, each with its hashes on one line; comments dropped."""
    text = re.sub(r"\\\n", " ", (ROOT / "requirements" / name).read_text())
    return [
        line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]


TREE = pins(UV["constraint-dependencies"])
BUILD = pins(UV["build-constraint-dependencies"])


def test_whatever_pyproject_asks_for_has_one_exact_version_that_it_accepts() -> None:
    """On every interpreter and machine; a new dependency without a pin fails here."""
    for requirement in named():
        for environment in ENVIRONMENTS:
            versions = wanted(TREE.get(canonicalize_name(requirement.name), []), environment)
            assert len(versions) == 1, f"{requirement.name} is not pinned: {MEND}"
            assert requirement.specifier.contains(versions[0]), f"{requirement}: {MEND}"


def test_what_builds_the_wheel_has_one_exact_version_too() -> None:
    """As pyproject asks for it, with all that it needs in `requirements/build.txt`."""
    for requirement in map(Requirement, PYPROJECT["build-system"]["requires"]):
        versions = wanted(BUILD[canonicalize_name(requirement.name)], ENVIRONMENTS[0])
        assert len(versions) == 1, MEND
        assert requirement.specifier.contains(versions[0]), MEND
    exported_pins = pins([line.partition("--hash")[0] for line in exported("build.txt")])
    assert {n: [str(p.specifier) for p in ps] for n, ps in exported_pins.items()} == {
        n: [str(p.specifier) for p in ps] for n, ps in BUILD.items()
    }, MEND


def test_everything_installed_here_is_pinned_and_no_other_version_of_it() -> None:
    """The whole tree, not only what we name: `uv run` has installed what pyproject says."""
    here: dict[str, str] = {}
    for found in distributions():
        name = canonicalize_name(found.metadata["Name"])
        if name not in {"retry-engine", "pip", "setuptools", "wheel", "uv"}:
            here[name] = found.version
    assert len(here) > 50
    astray = {
        name: (installed, wanted(TREE.get(name, []), {}))
        for name, installed in here.items()
        if wanted(TREE.get(name, []), {}) != [installed]
    }
    assert not astray, f"installed, and what is pinned: {astray}; uv sync, or {MEND}"


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda e: "-".join(e.values()))
def test_a_deployment_gets_the_versions_that_were_tested(environment: dict[str, str]) -> None:
    """Each entry agrees with its pin, and all that the engine needs to run is there."""
    entries = pins([line.partition("--hash")[0] for line in exported("deploy.txt")])
    for name, pinned in entries.items():
        for found in wanted(pinned, environment):
            assert [found] == wanted(TREE[name], environment), f"{name}: {MEND}"
    for line in PYPROJECT["project"]["dependencies"]:
        name = canonicalize_name(Requirement(line).name)
        assert wanted(entries.get(name, []), environment), f"{name} is not exported: {MEND}"


@pytest.mark.parametrize("name", ["deploy.txt", "build.txt"])
def test_an_exported_file_carries_hashes_and_no_host(name: str) -> None:
    """A deployment chooses its own mirror, and takes nothing from it that was not seen here."""
    entries = exported(name)
    assert entries
    for entry in entries:
        hashes = re.findall(r"--hash=(\S+)", entry)
        assert hashes, f"{entry}: no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in hashes)
    text = (ROOT / "requirements" / name).read_text()
    assert not re.search(r"://|--(extra-)?index|--find-links|--trusted-host| @ ", text)


def test_a_lock_file_is_not_kept_since_it_names_hosts() -> None:
    """The pins say what a lock file would; the file itself carries the registry's address."""
    assert "uv.lock" in (ROOT / ".gitignore").read_text().splitlines()
