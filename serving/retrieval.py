"""Answers queries in stock TensorFlow ops: encode, look up, rank, and back to public ids."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf

from serving.catalogue import Catalogue
from serving.categories import Categories
from serving.inputs import CHOICES, HISTORY, Choices, default_choices
from serving.lists import Found, PostingLists
from serving.query import Encoded, QueryModel
from serving.ranking import Ranking
from serving.selection import Selection
from serving.sums import Sums, Tokens

Outputs = dict[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class AnswerOptions:
    """How queries are answered.

    Attributes:
      default_k: items returned for a query that does not say.
      keep_seen: whether items of the history may be returned to a query that does not say.
      max_k: items returned for a query at most.
    """

    default_k: int = 100
    keep_seen: bool = False
    max_k: int = 1000


class Query(NamedTuple):
    """A batch of queries, ready to be ranked.

    Attributes:
      history: `[B, H]` string.
      encoded: what the query model makes of it and the features.
      found: the lists of its tokens.
    """

    history: tf.Tensor
    encoded: Encoded
    found: Found

    @property
    def tokens(self) -> Tokens:
        """What sums are made of."""
        return Tokens(self.found.rows, self.encoded.weights, self.encoded.tokens)


class Retrieval(tf.Module):
    """The served model: public ids of a history in, the best items out.

    Every signature takes `history [B, H]` string, public item ids, oldest first ("" is padding, unknown ids
    count for nothing), and the query features that the model declares. K are its K_u tokens, then its events.

    - `serving_default`: `item_ids [B, k]` ("" where not valid), `scores [B, k]` float32 (0 where not valid),
      `valid [B, k]` bool, `codes [B, K_u, M]` int32 of the query, `keys [B, K]` int64 of the lists looked up
      (-1: none), `fallback [B, K]` bool where that list is not the token's own; k is the exported default.
    - `recommend`: the same of queries that may bring `Choices`. It is as wide as the longest answer.
    - `explain`: the same, and `contributions [B, k, K]` float32, what each token adds to the item's score (0 where
      not valid), and `sources [B, K]` string, the item whose event the token is ("": none).
    - `encode`: `codes`, `keys`, `fallback`, and `tokens [B, K_u, D]` float32.
    """

    def __init__(
        self,
        query_model: QueryModel,
        lists: PostingLists,
        sums: Sums,
        catalogue: Catalogue,
        categories: Categories,
        options: AnswerOptions,
    ) -> None:
        """Joins the parts.

        Args:
          query_model: encodes histories.
          lists: the posting lists of an index of the same model.
          sums: how scores are made from lists.
          catalogue: ids of the items.
          categories: of the items.
          options: k and exclusion.
        """
        super().__init__()
        self._query_model = query_model
        self._lists = lists
        self._ranking = Ranking(lists, sums)
        self._catalogue = catalogue
        self._selection = Selection(self._ranking, categories, options.max_k)
        self._options = options

    def signatures(self) -> dict[str, Callable[..., Outputs]]:
        """What is served, by name: functions of batches, for `tf.saved_model.save`."""
        query_specs = [HISTORY, self._query_model.features]
        return {
            "serving_default": tf.function(self._recommend_default, input_signature=query_specs),
            "recommend": self._with_choices(self._recommend),
            "explain": self._with_choices(self._explain),
            "encode": tf.function(self._encode, input_signature=query_specs),
        }

    def _with_choices(self, answer: Callable[[Query, Choices], Outputs]) -> Callable[..., Outputs]:
        """A signature with optional inputs: what Python's defaults are here, SignatureDef.defaults are when served."""
        default = default_choices(self._options.default_k, self._options.keep_seen)

        def signature(
            history: tf.Tensor,
            features: Mapping[str, tf.Tensor],
            k: tf.Tensor = default.k,
            exclude_ids: tf.Tensor = default.exclude_ids,
            allow_categories: tf.Tensor = default.allow_categories,
            deny_categories: tf.Tensor = default.deny_categories,
            include_seen: tf.Tensor = default.include_seen,
        ) -> Outputs:
            choices = Choices(k, exclude_ids, allow_categories, deny_categories, include_seen)
            return answer(self._query(history, features), choices.for_batch(tf.shape(history)[0]))

        return tf.function(signature, input_signature=[HISTORY, self._query_model.features, *CHOICES])

    def _recommend_default(self, history: tf.Tensor, features: Mapping[str, tf.Tensor]) -> Outputs:
        query = self._query(history, features)
        seen = history[:, :0] if self._options.keep_seen else history
        rows, scores = self._ranking.best(query.tokens, self._catalogue.rows(seen), self._options.default_k)
        return self._items(rows, scores) | _codes(query)

    def _recommend(self, query: Query, choices: Choices) -> Outputs:
        return self._items(*self._best(query, choices)) | _codes(query)

    def _explain(self, query: Query, choices: Choices) -> Outputs:
        rows, scores = self._best(query, choices)
        events = query.found.keys - self._lists.first_event_key
        return {
            **self._items(rows, scores),
            **_codes(query),
            "contributions": self._ranking.contributions(rows, query.tokens),
            "sources": self._catalogue.ids(events, events >= 0),
        }

    def _encode(self, history: tf.Tensor, features: Mapping[str, tf.Tensor]) -> Outputs:
        query = self._query(history, features)
        return {**_codes(query), "tokens": query.encoded.tokens}

    def _query(self, history: tf.Tensor, features: Mapping[str, tf.Tensor]) -> Query:
        encoded = self._query_model.encode(history, features)
        return Query(history, encoded, self._lists.find(encoded.keys, encoded.distances))

    def _best(self, query: Query, choices: Choices) -> tuple[tf.Tensor, tf.Tensor]:
        seen = tf.where(choices.include_seen[:, None], "", query.history)
        excluded = self._catalogue.rows(tf.concat([seen, choices.exclude_ids], 1))
        return self._selection.best(query.tokens, excluded, choices)

    def _items(self, rows: tf.Tensor, scores: tf.Tensor) -> Outputs:
        valid = scores > 0
        return {"item_ids": self._catalogue.ids(rows, valid), "scores": scores, "valid": valid}


def _codes(query: Query) -> Outputs:
    return {"codes": query.encoded.codes, "keys": query.found.keys, "fallback": query.found.fallback}
