"""What a query brings beside its history: declared in the manifest of an export, fed to the query model.

`queries.parquet` has a column for each, of the same name. Missing values are null there, and in tensors
"" or nan:

    kind               place   column                      tensor
    category, text     user    string                      [B] string
                       event   list<string>                [B, H] string
    multi_category     user    list<string>                [B, W] string, padded with ""
                       event   list<list<string>>          [B, H, W] string, padded with ""
    number             user    float                       [B] float32
                       event   list<float>                 [B, H] float32
    vector             user    list<float>                 [B, width] float32
                       event   list<list<float>>           [B, H, width] float32

What belongs to an event stands at the place of its item in the history.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

# Columns of queries.parquet that all exports have: the items of each query, and those it is judged by.
HISTORY, RELEVANT = "history", "relevant"
# What no feature may be called: those columns, and the inputs that servables have besides.
RESERVED_NAMES = (
    *(HISTORY, RELEVANT, "k", "exclude_ids"),
    *("allow_categories", "deny_categories", "include_seen"),
)


@dataclasses.dataclass(frozen=True)
class QueryInput:
    """A feature that queries bring.

    Attributes:
      name: of the input, and of the column.
      place: what it is a feature of: the events of the history, or the user who asks.
      kind: as declared in the configuration.
      width: numbers of a vector; None of other kinds.
    """

    name: str
    place: Literal["event", "user"]
    kind: Literal["category", "multi_category", "number", "text", "vector"]
    width: int | None = None

    @property
    def of_event(self) -> bool:
        """Whether there is a value for each event."""
        return self.place == "event"

    @property
    def is_list(self) -> bool:
        """Whether one value is a list."""
        return self.kind in ("multi_category", "vector")

    @property
    def dtype(self) -> Literal["string", "float32"]:
        """Of the tensor."""
        return "float32" if self.kind in ("number", "vector") else "string"

    @property
    def rank(self) -> int:
        """Of the tensor, the batch counted."""
        return 1 + self.of_event + self.is_list

    @property
    def missing(self) -> str | float:
        """What stands in the tensor where there is no value."""
        return "" if self.dtype == "string" else float("nan")

    def as_json(self) -> dict[str, Any]:
        """For the manifest."""
        return dataclasses.asdict(self) | {"dtype": self.dtype, "rank": self.rank}

    def padded(self, values: Sequence[Any], length: int) -> np.ndarray:
        """The tensor of B queries, as an array; see the table above.

        Args:
          values: B entries of the column; None is a missing value, or misses all of an event's or a query's.
          length: H, at least that of the longest history; of no matter to features of users.

        Raises:
          ValueError: a vector is of another width, or there are more values than H.
        """
        queries = [query or () for query in values] if self.of_event else [[value] for value in values]
        # A single value is a list of one.
        lists = [[_items(value) if self.is_list else (value,) for value in query] for query in queries]
        places = length if self.of_event else 1
        self._require_fit(lists, places)
        longest = max([1, *(len(items) for query in lists for items in query)])
        width = longest if self.width is None else self.width
        array = np.full((len(lists), places, width), self.missing, object if self.dtype == "string" else np.float32)
        for row, query in enumerate(lists):
            for place, items in enumerate(query):
                array[row, place, : len(items)] = [self.missing if item is None else item for item in items]
        return array.reshape([len(lists), *([length] if self.of_event else []), *([width] if self.is_list else [])])

    def _require_fit(self, lists: Sequence[Sequence[Sequence[Any]]], places: int) -> None:
        for query in lists:
            if len(query) > places:
                raise ValueError(f"{self.name} has {len(query)} values for one query; expected at most {places}")
            for items in query:
                if self.width is not None and len(items) not in (0, self.width):
                    raise ValueError(f"{self.name} has a vector of {len(items)} numbers; expected {self.width}")


def _items(value: Sequence[Any] | None) -> Sequence[Any]:
    return () if value is None else value


def query_inputs(model: Mapping[str, Any]) -> tuple[QueryInput, ...]:
    """The inputs beside the history that a manifest's entry `model` declares; none in exports of old."""
    fields = [field.name for field in dataclasses.fields(QueryInput)]
    return tuple(QueryInput(**{name: each[name] for name in fields}) for each in model.get("query_inputs", ()))


def tensors(
    queries: Mapping[str, Sequence[Any]], inputs: Sequence[QueryInput], width: int | None = None
) -> dict[str, np.ndarray]:
    """What the query model takes, by name: the history, `[B, H]` of ids, and every input.

    Args:
      queries: B queries, by column: histories of item ids, and for each input its values, None where missing.
      inputs: that the model declares.
      width: H; None is the length of the longest history, at least 1.
    """
    history = QueryInput(HISTORY, "event", "category")
    length = width or max([1, *(len(items or ()) for items in queries[HISTORY])])
    return {each.name: each.padded(queries[each.name], length) for each in (history, *inputs)}
