"""A model as bytes that hold numbers and text only: reading one executes nothing.

A NumPy archive (no pickles) of the trees' arrays, and a JSON document with the rest. What it was
made with must be what reads it: trees are laid out by scikit-learn's version, columns by ours.
"""

import hashlib
import io
import json
import zipfile
from dataclasses import asdict
from importlib.metadata import version as installed
from typing import Any

import numpy as np

from retry_engine.decisioning import features
from retry_engine.decisioning.churn import ChurnHazard
from retry_engine.decisioning.discounts import Effects
from retry_engine.decisioning.features import Rates
from retry_engine.decisioning.pay_cycles import CYCLES, PayCycles
from retry_engine.decisioning.success_model import Calibrator, LearntModel
from retry_engine.domain.errors import InvalidInput
from retry_engine.learning.trees import Ensemble, tree_from

_FORMAT = 4
_MADE_WITH = ("scikit-learn", "scikit-survival")


def write(model: LearntModel) -> bytes:
    """The model as bytes."""
    ensemble = model.trees
    assert isinstance(ensemble, Ensemble)
    trees = [state for member in ensemble.states() for state in member]
    about = {
        "format": _FORMAT,
        "made_with": {name: installed(name) for name in _MADE_WITH},
        "features": [f.name for f in features.features()],
        "version": model.version,
        "rate": ensemble.rate,
        "members": [len(member) for member in ensemble.members],
        "tree_depths": [int(t["max_depth"]) for t in trees],
        "sizes": [len(t["nodes"]) for t in trees],
        "link": [model.calibrator.intercept, model.calibrator.slope, model.calibrator.prior_slope],
        "rates": {key: list(value) for key, value in model.rates.counts.items()},
        "cycles": list(CYCLES),
        "mixes": {key: list(value) for key, value in model.pay_cycles.mixes.items()},
        "depths": model.pay_cycles.depths.tolist(),
        "chances": model.pay_cycles.chances.tolist(),
        "odds": model.pay_cycles.odds.tolist(),
        "support": {key: list(value) for key, value in model.group_rows.items()},
        "offsets": dict(model.prior_offsets),
        "support_weight": model.prior_rows,
        "damping": model.damping,
        "offers": asdict(model.offer_effects),
        "leaving": asdict(model.churn),
    }
    out = io.BytesIO()
    np.savez_compressed(
        out,
        about=np.frombuffer(json.dumps(about).encode(), dtype=np.uint8),
        nodes=np.concatenate([t["nodes"] for t in trees]),
        values=np.concatenate([t["values"] for t in trees]),
    )
    return out.getvalue()


def read(content: bytes, *, sha256: str) -> LearntModel:
    """The model in those bytes.

    Raises `InvalidInput` with the reason where they were altered, were made with other versions, or
    describe no model. Nothing in them is executed.
    """
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InvalidInput("the model's file is not the one that was stored: its hash differs")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            about = json.loads(archive["about"].tobytes())
            _check(about)
            return _model(about, archive["nodes"], archive["values"])
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidInput(f"the model's file is not readable: {error}") from None


def _check(about: dict[str, Any]) -> None:
    if about["format"] != _FORMAT:
        raise InvalidInput(f"the model's file has format {about['format']}; expected {_FORMAT}")
    for name, made in about["made_with"].items():
        here = installed(name)
        if name not in _MADE_WITH or made != here:
            raise InvalidInput(f"the model was made with {name} {made}, here is {here}: train anew")
    if about["features"] != [f.name for f in features.features()]:
        raise InvalidInput("the model was made with other features than this version's: train anew")
    if about["cycles"] != list(CYCLES):
        raise InvalidInput("the model was made with other pay cycles than these: train anew")


def _model(about: dict[str, Any], nodes: Any, values: Any) -> LearntModel:
    count = len(about["features"])
    ends = np.cumsum(about["sizes"])
    if sum(about["members"]) != len(ends) or not len(ends) or ends[-1] != len(nodes):
        raise ValueError("sizes do not fit")
    trees = iter(
        tree_from({"nodes": n, "values": v, "max_depth": d}, features=count)
        for n, v, d in zip(
            np.split(nodes, ends[:-1]),
            np.split(values, ends[:-1]),
            about["tree_depths"],
            strict=True,
        )
    )
    members = tuple(tuple(next(trees) for _ in range(size)) for size in about["members"])
    return LearntModel(
        version=str(about["version"]),
        trees=Ensemble(members=members, rate=float(about["rate"]), features=count),
        calibrator=Calibrator(*(float(v) for v in about["link"])),
        rates=Rates({k: (v[0], v[1], v[2]) for k, v in about["rates"].items()}),
        pay_cycles=PayCycles(
            {key: np.array(value, dtype=np.float64) for key, value in about["mixes"].items()},
            *(np.array(about[name], dtype=np.float64) for name in ("depths", "chances", "odds")),
        ),
        group_rows=about["support"],
        prior_offsets={key: float(value) for key, value in about["offsets"].items()},
        prior_rows=float(about["support_weight"]),
        damping=float(about["damping"]),
        offer_effects=_effects(about["offers"]),
        churn=ChurnHazard(*(tuple(map(float, about["leaving"][k])) for k in ("left", "days"))),
    )


def _effects(about: dict[str, Any]) -> Effects:
    gain, cost = (
        {str(name): float(value) for name, value in about[part].items()}
        for part in ("gain", "cost")
    )
    return Effects(gain=gain, cost=cost, seen=int(about["seen"]))
