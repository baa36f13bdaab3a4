"""What a model's version stands for: everything that another model would come from."""

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import version as installed
from pathlib import Path

import numpy as np
import pandas as pd

_LIBRARIES = ("numpy", "scipy", "pandas", "scikit-learn", "scikit-survival")
_HOUSES = ("domain", "learning", "mind")


def of_log(log: pd.DataFrame) -> str:
    """Of every row, in whatever column and of whatever kind."""
    ordered = log.reindex(columns=sorted(log.columns))
    rows = pd.util.hash_pandas_object(ordered, index=False).to_numpy(dtype=np.uint64)
    return hashlib.sha256(rows.tobytes() + ",".join(ordered.columns).encode()).hexdigest()


@lru_cache(maxsize=1)
def of_code() -> str:
    """Of what learns and decides, and of the libraries that it does so with."""
    package = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for house in _HOUSES:
        for path in sorted((package / house).rglob("*")):
            if path.suffix in (".py", ".csv"):
                digest.update(f"{path.relative_to(package)}\0".encode() + path.read_bytes())
    digest.update(",".join(f"{name} {installed(name)}" for name in _LIBRARIES).encode())
    return digest.hexdigest()


def of(parts: Iterable[str]) -> str:
    """Of several in one, short enough to be read out."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]
