"""What a model's version stands for: everything that another model would come from."""

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import version as installed
from pathlib import Path

import numpy as np
import pandas as pd

from retry_engine import decisioning, domain, learning

_LIBRARIES = ("numpy", "scipy", "pandas", "scikit-learn", "scikit-survival")
# named by import, so that a house that moves is not left out
_HOUSES = (decisioning, domain, learning)


def of_log(log: pd.DataFrame) -> str:
    """Of every row, in whatever column and of whatever kind."""
    ordered = log.reindex(columns=sorted(log.columns))
    rows = pd.util.hash_pandas_object(ordered, index=False).to_numpy(dtype=np.uint64)
    return hashlib.sha256(rows.tobytes() + ",".join(ordered.columns).encode()).hexdigest()


def sources() -> list[tuple[str, Path]]:
    """The files of what learns and decides, by their place in the package."""
    folders = [Path(house.__path__[0]).resolve() for house in _HOUSES]
    return [
        (str(path.relative_to(folder.parent)), path)
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".py", ".csv")
    ]


@lru_cache(maxsize=1)
def of_code() -> str:
    """Of what learns and decides, and of the libraries that it does so with."""
    digest = hashlib.sha256()
    for name, path in sources():
        digest.update(f"{name}\0".encode() + path.read_bytes())
    digest.update(",".join(f"{name} {installed(name)}" for name in _LIBRARIES).encode())
    return digest.hexdigest()


def of(parts: Iterable[str]) -> str:
    """Of several in one, short enough to be read out."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]
