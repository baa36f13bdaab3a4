"""How a feature is added: one function, in the group where it belongs.

    @GROUP.feature("where its facts come from", "what it is called to a person")
    def _its_name(context: FeatureContext) -> Value:
        "Its meaning, for the model card."
        return ...

Its column stands after those of its group that are there already; training, serving, the model
card and the reasons take it from there. A stored model knows the names that it was made with, and
is refused where they are others.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from retry_engine.decisioning.features.context import FeatureContext

Floats = npt.NDArray[np.float64]
Value = Floats | float
Compute = Callable[[FeatureContext], Value]


@dataclass(frozen=True, slots=True)
class Feature:
    """`source` says where its facts come from; `doc` is its sentence for the model card.

    `compute` gives one number per moment, (moments,), or one for all of them; never NaN. `show`
    puts a value in a support person's words, where it has any for them.
    """

    name: str
    doc: str
    source: str
    words: str
    compute: Compute
    show: Callable[[float], str] | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Features of one subject, in the order in which they were added."""

    features: list[Feature] = field(default_factory=list)

    def feature(
        self, source: str, words: str, show: Callable[[float], str] | None = None
    ) -> Callable[[Compute], Compute]:
        """Add the function below as a feature: its name without the underscore, its docstring."""

        def register(function: Compute) -> Compute:
            name = function.__name__.removeprefix("_")
            doc = (function.__doc__ or "").strip()
            self.features.append(Feature(name, doc, source, words, function, show))
            return function

        return register
