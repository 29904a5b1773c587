"""Answers queries in stock TensorFlow ops: encode, look up, rank, and back to public ids."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from serving.catalogue import Catalogue
from serving.lists import PostingLists
from serving.query import QueryModel
from serving.ranking import Ranking
from serving.sums import Sums, Tokens


@dataclasses.dataclass(frozen=True)
class AnswerOptions:
    """How queries are answered.

    Attributes:
      default_k: items returned for a query.
      keep_seen: whether items of the history may be returned.
    """

    default_k: int = 100
    keep_seen: bool = False


class Retrieval(tf.Module):
    """The served model: public ids of a history in, the best items out."""

    def __init__(
        self, query_model: QueryModel, lists: PostingLists, sums: Sums, catalogue: Catalogue, options: AnswerOptions
    ) -> None:
        """Joins the parts.

        Args:
          query_model: encodes histories.
          lists: the posting lists of an index of the same model.
          sums: how scores are made from lists.
          catalogue: ids of the items.
          options: k and exclusion.
        """
        super().__init__()
        self._query_model = query_model
        self._lists = lists
        self._ranking = Ranking(lists, sums)
        self._catalogue = catalogue
        self._options = options

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.string, name="history")])
    def recommend(self, history: tf.Tensor) -> dict[str, tf.Tensor]:
        """The best items for each query.

        Args:
          history: `[B, H]` public item ids, oldest first; "" is padding, unknown ids count for nothing.

        Returns:
          `item_ids [B, k]` ("" where not valid), `scores [B, k]` float32 (0 where not valid),
          `valid [B, k]` bool, `codes [B, K_u, M]` int32 of the query, `keys [B, K]` int64 of the
          lists looked up, those of the K_u tokens, then of the events (-1: none), `fallback [B, K]`
          bool where that list is not the token's own.
        """
        query = self._query_model.encode(history)
        found = self._lists.find(query.keys, query.distances)
        tokens = Tokens(found.rows, query.weights, query.tokens)
        rows, scores = self._ranking.best(tokens, self._excluded(history), self._options.default_k)
        valid = scores > 0
        return {
            "item_ids": self._catalogue.ids(rows, valid),
            "scores": scores,
            "valid": valid,
            "codes": query.codes,
            "keys": found.keys,
            "fallback": found.fallback,
        }

    def _excluded(self, history: tf.Tensor) -> tf.Tensor:
        """Rows `[B, E]` that must not be returned."""
        seen = history[:, :0] if self._options.keep_seen else history
        return self._catalogue.rows(seen)
