"""What the success model is told of a charge: one definition, for training and for serving.

A feature is a function of a `FeatureContext`: one case as known at its `now`, one of the customer's
methods, and the moments at which it might be charged. A context holds nothing from after `now`, so
no feature can. `registry` says how one is added.
"""

import numpy as np
import numpy.typing as npt

from retry_engine.decisioning.features import (
    baseline,
    declines,
    funds,
    history,
    invoice,
    method,
    timing,
)
from retry_engine.decisioning.features.context import FeatureContext, Rates
from retry_engine.decisioning.features.registry import Feature, Group

# The log hazard by the documented prior: an input, and what decides where a log is thin.
PRIOR = "prior_hazard"

# The order of the columns.
GROUPS = (
    baseline.GROUP,
    timing.GROUP,
    funds.GROUP,
    history.GROUP,
    declines.GROUP,
    method.GROUP,
    invoice.GROUP,
)


def features() -> tuple[Feature, ...]:
    """All features, in the order of the columns."""
    return tuple(feature for group in GROUPS for feature in group.features)


def column(name: str) -> int:
    """Where a feature stands in the matrix; its name is what it is found by."""
    return next(place for place, feature in enumerate(features()) if feature.name == name)


def matrix(context: FeatureContext) -> npt.NDArray[np.float32]:
    """The features of a context, (moments, features): one row a moment, finite everywhere."""
    known = features()
    out = np.empty((context.slots.size, len(known)), dtype=np.float32)
    for place, feature in enumerate(known):
        out[:, place] = feature.compute(context)
    return out


def describe_all() -> list[dict[str, str]]:
    """Name, type, source and meaning of each, for the model card."""
    return [
        {"name": f.name, "type": "float32", "source": f.source, "doc": f.doc} for f in features()
    ]


__all__ = [
    "GROUPS", "PRIOR", "Feature", "FeatureContext", "Group", "Rates", "column", "describe_all",
    "features", "matrix",
]  # fmt: skip
