"""What users ask, and how it becomes the tensors of a signature."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from serving.client.messages import Signature, TensorSpec
from serving.wire import Tensor

# What every servable takes, whatever else it has; knowing it spares asking.
HISTORY_ONLY = Signature(inputs={"history": TensorSpec("string", (None, None))}, outputs={})
# Open widths are powers of two, at least these: a server's batching joins only requests of one shape, and so nearly
# all of them have it, while none is more than twice as wide as it must be.
HISTORY_WIDTH = 32
LIST_WIDTH = 8
_LISTS = ("exclude_ids", "allow_categories", "deny_categories")
_MISSING = {"string": "", "float32": float("nan"), "float64": float("nan"), "bool": False}


class QueryError(ValueError):
    """A query that the model has no place for."""


@dataclasses.dataclass(frozen=True)
class Query:
    """What is asked for one user.

    Attributes:
      history: public ids of what they saw, oldest first. Unknown ids count for nothing; there may be none.
      k: items wanted; None is as many as the model was exported to return.
      exclude_ids: items that must not be returned.
      allow_categories: an item must have at least one of them; none allows all.
      deny_categories: an item that has one is left out, even if it is allowed.
      include_seen: whether items of the history may be returned; None is the model's own choice, mostly not.
      features: the features of the user and of the events that the model declares, by name. A feature of the
        user is one value, of several categories or a vector a list; a feature of events is a list of such,
        aligned with the history. None is a missing value, and so is a feature that is not there.
    """

    history: Sequence[str] = ()
    k: int | None = None
    exclude_ids: Sequence[str] = ()
    allow_categories: Sequence[str] = ()
    deny_categories: Sequence[str] = ()
    include_seen: bool | None = None
    features: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def inputs(self) -> dict[str, Any]:
        """What it says, by the name of the input: the history, and the options and features that are given."""
        options = {name: getattr(self, name) for name in ("k", "include_seen", *_LISTS)}
        given = {name: value for name, value in options.items() if value is not None and not _is_empty(value)}
        return {"history": self.history, **given, **self.features}


Row = Query | Sequence[str]


def as_queries(rows: Iterable[Row]) -> list[Query]:
    """Queries as they are, and histories as queries of nothing but them.

    Raises:
      TypeError: a history is a string, which would be taken for a list of one-letter ids.
    """
    queries = [row if isinstance(row, Query) else Query(row) for row in rows]
    for query in queries:
        if isinstance(query.history, str | bytes):
            raise TypeError(f"the history {query.history!r} is one string; expected a list of item ids")
    return queries


def fixed_width(longest: int, least: int) -> int:
    """The smallest power of two times `least` that is at least `longest`."""
    width = least
    while width < longest:
        width *= 2
    return width


def tensors(queries: Sequence[Query], signature: Signature) -> dict[str, Tensor]:
    """Every input of a signature, `[B, ...]`, for at least one query.

    Optional inputs are sent too, with the model's own defaults where a query says nothing: all requests look
    alike, and a default, which stands for one row, could not be batched with them. No history is cut: the
    model leaves out all that was seen.

    Raises:
      QueryError: a query gives what the signature does not take, or a value of a wrong form.
    """
    asked = [query.inputs() for query in queries]
    for place, inputs in enumerate(asked):
        if unknown := sorted(inputs.keys() - signature.inputs.keys()):
            takes = ", ".join(sorted(signature.inputs))
            raise QueryError(f"query {place}: {unknown[0]} is no input of the signature asked; it takes {takes}")
    width = fixed_width(max(len(query.history) for query in queries), HISTORY_WIDTH)
    return {
        name: _tensor(name, spec, [inputs.get(name) for inputs in asked], LIST_WIDTH if name in _LISTS else width)
        for name, spec in signature.inputs.items()
    }


class _Axis(NamedTuple):
    """A dimension after B; `fixed` where the model says its size."""

    size: int
    fixed: bool


def _tensor(name: str, spec: TensorSpec, rows: list[Any], width: int) -> Tensor:
    """The rows filled up to one shape; `width` is the least of the first open dimension after B."""
    if spec.default is not None:
        rows = [spec.default[0] if row is None else row for row in rows]
    axes = [_axis(size, _longest(rows, depth), width if depth == 1 else LIST_WIDTH) for depth, size in _inner(spec)]
    values: list[Any] = []
    for place, row in enumerate(rows):
        try:
            values += _filled(row, axes, _MISSING.get(spec.dtype, 0))
        except QueryError as error:
            raise QueryError(f"query {place}, {name}: {error}") from None
    return Tensor(spec.dtype, (len(rows), *(axis.size for axis in axes)), values)


def _inner(spec: TensorSpec) -> Iterable[tuple[int, int | None]]:
    """Depth and size of the dimensions after B."""
    return enumerate((spec.shape or ())[1:], start=1)


def _axis(size: int | None, longest: int, least: int) -> _Axis:
    """An open axis holds the longest list; aligned with the history, it is as wide as that, which is then `least`."""
    return _Axis(fixed_width(longest, least), fixed=False) if size is None else _Axis(size, fixed=True)


def _longest(rows: Iterable[Any], depth: int) -> int:
    """The most elements of a list `depth` levels down."""
    lists = [row for row in rows if row is not None and not _is_scalar(row)]
    if depth == 1:
        return max(map(len, lists), default=0)
    return max((_longest(row, depth - 1) for row in lists), default=0)


def _filled(value: Any, axes: Sequence[_Axis], missing: Any) -> list[Any]:
    """The elements of a value, row-major, filled up to the axes' sizes with what is missing."""
    if not axes:
        if not _is_scalar(value):
            raise QueryError(f"found the list {value!r:.200}, expected one value")
        return [missing if value is None else value]
    items = [] if value is None else value
    if _is_scalar(items):
        raise QueryError(f"found {value!r:.200}, expected a list")
    axis, *inner = axes
    if axis.fixed and len(items) not in (0, axis.size):
        raise QueryError(f"found {len(items)} values, the model takes {axis.size}")
    filled = [*items, *[None] * (axis.size - len(items))]
    return [element for item in filled for element in _filled(item, inner, missing)]


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | bytes) or not hasattr(value, "__len__")


def _is_empty(value: Any) -> bool:
    return not _is_scalar(value) and len(value) == 0
