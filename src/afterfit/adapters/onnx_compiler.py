"""What goes through a translation: columns under way, and the compiler that hands each part of a model to its translator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from afterfit.adapters.lane import NARROW
from afterfit.adapters.onnx_graph import Graph, RefusedError
from afterfit.records import Feature

if TYPE_CHECKING:
    from afterfit.adapters.onnx_encoders import Vocabulary

# Where estimators come from that are looked up by the names of their classes.
_OURS = ("sklearn.", "lightgbm.sklearn", "xgboost.sklearn")
_LETS_INFINITY_PASS = (
    *("HistGradientBoostingClassifier", "HistGradientBoostingRegressor", "ColumnTransformer", "FunctionTransformer"),
    *("LGBMClassifier", "LGBMRegressor", "XGBClassifier", "XGBRegressor", "XGBRFClassifier", "XGBRFRegressor"),
)


@dataclass(frozen=True)
class Block:
    """Columns under way: those of the request (`features`), or a matrix that was computed from them."""

    tensor: str
    features: tuple[int, ...] | None = None  # places in the request's matrix; None: computed
    width: int | None = None
    sparse: bool = False  # the model computes it as a sparse matrix
    infinite: bool = False  # it may hold infinities, which most estimators refuse

    @property
    def size(self) -> int | None:
        """Number of columns, where known."""
        return self.width if self.features is None else len(self.features)


Translator = Callable[["Compiler", Any, Block], Block]


@dataclass
class Compiler:
    """One pass over the model.

    Attributes:
        parts: what an estimator makes of its columns, by the name of its class: transformed, probabilities (of the
            second class, where there are two), or values.
        decisions: what its `decision_function` makes of them.
    """

    features: Sequence[Feature]
    vocabulary: Vocabulary
    graph: Graph
    parts: Mapping[str, Translator]
    decisions: Mapping[str, Translator]

    def step(self, part: Any, block: Block) -> Block:
        """What `part` makes of the columns."""
        if isinstance(part, str) and part == "passthrough":
            return block
        name = _name_of(part)
        if name not in self.parts:
            raise RefusedError(f"{name} is not translated")
        return self.parts[name](self, part, block)

    def decision(self, part: Any, block: Block) -> Block:
        """What `decision_function` makes of the columns where the classifier has one, else its probabilities."""
        if not hasattr(part, "decision_function"):
            return self.step(part, block)
        name = _name_of(part)
        if name not in self.decisions:
            raise RefusedError(f"the decision function of {name} is not translated")
        return self.decisions[name](self, part, block)

    def has_text(self, block: Block) -> bool:
        """Whether a column of the request is text."""
        return block.features is not None and any(self.features[i].kind == "text" for i in block.features)

    def dense(self, block: Block, part: Any) -> str:
        """The columns as a matrix of numbers for `part`."""
        if type(part).__name__ not in _LETS_INFINITY_PASS:
            self._spoil_infinity(block)
        if self.has_text(block):
            named = next(self.features[i].name for i in block.features or () if self.features[i].kind == "text")
            raise RefusedError(f"{type(part).__name__} reads the text of {named!r} without an encoder before it")
        if block.features is None or block.features == tuple(range(len(self.features))):
            return block.tensor
        return self.graph.take(block.tensor, list(block.features))

    def _spoil_infinity(self, block: Block) -> None:
        narrow = [i for i in block.features or () if self.features[i].dtype in NARROW]
        if narrow:  # what does not fit into 32 bits
            self.graph.spoil(self.graph.add("IsInf", self.graph.take(block.tensor, narrow)))
        if block.infinite:
            self.graph.spoil(self.graph.add("IsInf", block.tensor))


def _name_of(part: Any) -> str:
    """The name of an estimator's class.

    Raises:
        RefusedError: it comes from nowhere that we know.
    """
    name = type(part).__name__
    if not type(part).__module__.startswith(_OURS):
        raise RefusedError(f"{type(part).__module__}.{name} is not scikit-learn's, LightGBM's or XGBoost's")
    return name
