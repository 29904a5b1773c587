"""Ensembles: models trained from different seeds whose scores are added up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from protos.codes import CodeSpace
from trainer.layers.event_lists import EventLists
from trainer.layers.quantized import Quantized
from trainer.layers.token_scorer import CodeParts, ItemParts
from trainer.model import ItemRows, SparCode
from trainer.sequence_model import Batch, Scores, SequenceModel
from trainer.windows import rows_of


class Ensemble:
    """Models of one kind and one configuration but for the seed (Lakshminarayanan et al., NeurIPS 2017).

        f(q, c) = sum_m f_m(q, c)

    Of two-tower models that is one two-tower model: its vectors are those of the members, end to end.

    Args:
      members: trained, one at least.
    """

    def __init__(self, members: Sequence[SequenceModel]) -> None:
        self.members = tuple(members)
        self.config, self.num_items = members[0].config, members[0].num_items

    @property
    def variables(self) -> list[tf.Variable]:
        """Those of all members."""
        return [variable for member in self.members for variable in member.variables]

    @property
    def is_quantized(self) -> bool:
        """Whether the members have codes."""
        return self.members[0].is_quantized

    @property
    def num_targets(self) -> int:
        """See SequenceModel."""
        return self.members[0].num_targets

    @property
    def tail_buckets(self) -> int:
        """See SequenceModel."""
        return self.members[0].tail_buckets

    def windows_of(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """See SequenceModel."""
        return self.members[0].windows_of(histories)

    def catalogue_scores(self, windows: tf.Tensor) -> tf.Tensor:
        """Scores `[B, I]` of every item for histories `[B, T]`."""
        return tf.add_n([member.catalogue_scores(windows) for member in self.members])

    def scores_of(self, batch: Batch) -> Scores:
        """See SequenceModel; the members' mean, which has the range of a single model's scores."""
        scores = [member.scores_of(batch) for member in self.members]
        positive, negative, extra = (
            tf.add_n(list(values)) / len(self.members) for values in list(zip(*scores, strict=True))[:3]
        )
        return Scores(positive, negative, extra)


class MemberCodes(NamedTuple):
    """Of C codes: `members [C]` int64, whose each is, and what every member would make of it."""

    members: tf.Tensor
    parts: tuple[CodeParts, ...]


class SparCodeEnsemble(Ensemble):
    """An ensemble that is a SparCode model itself, of as many tokens and codes as its members have together.

    The tokens of a member stand after those of the members before it, and so do its keys:

        key = m * size + key_m          size: keys of one member

    Args:
      members: see Ensemble; their own event lists do not count.

    Attributes:
      event_lists: None until training has fitted the item memory; they stand beside all members' tokens.
    """

    def __init__(self, members: Sequence[SparCode]) -> None:
        super().__init__(members)
        self.event_lists: EventLists | None = None
        self._size = members[0].code_space.size

    @property
    def code_space(self) -> CodeSpace:
        """All keys that queries can have."""
        space = self.members[0].code_space
        return CodeSpace(len(self.members) * space.num_slots, space.num_codebooks, space.num_codewords)

    @property
    def num_query_tokens(self) -> int:
        """Tokens of a query."""
        return sum(member.num_query_tokens for member in self.members)

    @property
    def bias(self) -> tf.Variable:
        """b of relu(S + b); what another member's b is more than the first's is part of its S."""
        return self.members[0].bias

    def score_codes(self, keys: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        """See SparCode."""
        return self.score_pairs(self.code_parts(keys), self.item_parts(self.item_rows(items)))

    def code_parts(self, keys: tf.Tensor) -> MemberCodes:
        """See SparCode."""
        own = keys % self._size
        return MemberCodes(keys // self._size, tuple(member.code_parts(own) for member in self.members))

    def item_rows(self, items: tf.Tensor) -> tuple[ItemRows, ...]:
        """See SparCode; one entry a member."""
        return tuple(member.item_rows(items) for member in self.members)

    def item_parts(self, items: tuple[ItemRows, ...]) -> tuple[ItemParts, ...]:
        """See SparCode; one entry a member."""
        return tuple(member.item_parts(own) for member, own in zip(self.members, items, strict=True))

    def score_pairs(self, codes: MemberCodes, items: tuple[ItemParts, ...]) -> tf.Tensor:
        """See SparCode. Each code is scored by its own member only."""
        places, scores = [], []
        for number, member in enumerate(self.members):
            own = tf.where(codes.members == number)[:, 0]
            parts = tf.nest.map_structure(lambda part, own=own: tf.gather(part, own), codes.parts[number])
            places.append(own)
            scores.append(member.score_pairs(parts, items[number]) + member.bias - self.bias)
        order = tf.math.invert_permutation(tf.concat(places, 0))
        return tf.gather(tf.concat(scores, 0), order)

    def catalogue_scores(self, windows: tf.Tensor) -> tf.Tensor:
        """See SparCode."""
        scores = self.token_scores(windows)
        return scores if self.event_lists is None else scores + self.event_lists.catalogue_scores(rows_of(windows))

    def token_scores(self, windows: tf.Tensor) -> tf.Tensor:
        """See SparCode."""
        return tf.add_n([member.token_scores(windows) for member in self.members])

    def rescore(self, tokens: tf.Tensor, items: tuple[ItemRows, ...]) -> tf.Tensor:
        """See SparCode."""
        parts = tf.split(tokens, len(self.members), axis=1)
        return tf.concat(
            [member.rescore(part, own) for member, part, own in zip(self.members, parts, items, strict=True)], 1
        )


AnySparCode = SparCode | SparCodeEnsemble


def side_by_side(parts: Sequence[Quantized], size: int) -> Quantized:
    """What members make of the same queries, as the tokens of one model.

    Args:
      parts: of the members in order.
      size: keys of one member.
    """
    placed = [part._replace(keys=part.keys + number * size) for number, part in enumerate(parts)]
    return Quantized(*(tf.concat(values, 1) for values in zip(*placed, strict=True)))


def put_together(members: Sequence[SequenceModel]) -> SequenceModel | Ensemble:
    """One model of trained members: of a single one, itself."""
    if len(members) == 1:
        return members[0]
    return SparCodeEnsemble(members) if isinstance(members[0], SparCode) else Ensemble(members)
