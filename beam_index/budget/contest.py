"""Candidates answer a sample of queries in memory, as their servables would, and are measured by it."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable

import numpy as np

from beam_index.budget.choice import Candidate, Measured
from beam_index.budget.scores import Exact, InBlockToBe, SampleScores
from beam_index.plan import Plan
from beam_index.postings import posting_list
from beam_index.quality import measures
from beam_index.quality.best import Best
from beam_index.quality.check import CheckOptions
from beam_index.quality.encode import encode
from beam_index.quality.lists import Lists, read_ready_lists, to_lists
from beam_index.quality.lookup import NO_KEY, Found, find
from beam_index.quality.replay import EXACT, Query, World, replay
from beam_index.quality.sample import read_catalogue, read_sample
from protos.errors import UserError
from protos.postings import Postings, decode
from protos.postings import encode as encode_list


class Contest:
    """A sample of queries, encoded, and the scores of its codes.

    Attributes:
      measure: what accuracy is.
      num_queries: that it is the mean of.
    """

    def __init__(self, plan: Plan, options: CheckOptions, code_keys: np.ndarray) -> None:
        """Reads and encodes the sample.

        Args:
          plan: of the build; lengths, bits and block do not matter.
          options: the queries.
          code_keys: `[C]` int64, ascending, of all codes that get a list.
        """
        model = pathlib.Path(plan.model)
        sample, catalogue = read_sample(options.queries, options.limit, plan.inputs), read_catalogue(model)
        self._plan, self._code_keys, self._cut = plan, code_keys, max(options.cuts)
        self._indexed = frozenset(code_keys.tolist())
        self._queries_file = options.queries
        self._encoded = encode(plan, sample.queries)
        self._seen = catalogue.rows(sample.histories)
        self._relevant = catalogue.rows(sample.relevant)
        self._by_targets = any(map(len, self._relevant))
        self._events = read_ready_lists(model, self._encoded.keys[:, self._encoded.num_tokens :], plan.removed)
        self._own = np.unique(self._encoded.keys[:, : self._encoded.num_tokens])
        self.measure = f"{'ndcg' if self._by_targets else 'overlap'}@{self._cut}"
        self.num_queries = 0

    @property
    def num_codes(self) -> int:
        """Distinct codes of the sample."""
        return len(self._own)

    def measured(self, candidates: list[Candidate]) -> list[Measured]:
        """Measures candidates.

        Raises:
          UserError: the sample cannot tell one from another: no query has targets or exact answers.
        """
        depth = max(candidate.postings_per_code for candidate in candidates) + 1
        scores = SampleScores(self._own, depth, self._plan)
        found = []
        for candidate in candidates:
            lists, looked_up, scores = self._look_up(candidate, scores, depth)
            found.append(Measured(candidate, self._accuracy(candidate, lists, looked_up, scores)))
        return found

    def _look_up(self, candidate: Candidate, scores: SampleScores, depth: int) -> tuple[Lists, Found, SampleScores]:
        """The lists that the queries look up, and which; with the scores of more codes where empty lists ask for it.

        A token whose list is empty is answered by its slot's nearest code with a list. Codes that are not scored
        count as having one until one of them is looked up: then they are scored, and it shows.
        """
        while True:
            lists = self._lists(candidate, scores)
            filled = lists.keys[np.diff(lists.offsets) > 0]
            listed = np.union1d(np.setdiff1d(self._code_keys, scores.keys), filled)
            found = find(self._encoded, listed, self._plan.space)
            unknown = np.setdiff1d(found.keys, [*lists.keys, NO_KEY])
            if not len(unknown):
                return lists, found, scores
            scores = SampleScores(np.union1d(scores.keys, unknown), depth, self._plan)

    def _lists(self, candidate: Candidate, scores: SampleScores) -> Lists:
        """The lists of a candidate, of codes scored and of events, rounded as its files would have them."""
        limit, floor = candidate.postings_per_code, self._plan.list_floor
        of_codes = (
            posting_list(key, ranks[: limit + 1], limit, floor)
            for key, ranks in zip(scores.keys.tolist(), scores.ranks, strict=True)
            if key in self._indexed
        )
        return to_lists([*_rounded(of_codes, candidate), *_rounded(self._event_lists(), candidate)])

    def _event_lists(self) -> Iterable[Postings]:
        """The ready lists, in the order that files have."""
        keys, offsets, items, scores = self._events
        for key, start, stop in zip(keys.tolist(), offsets[:-1], offsets[1:], strict=True):
            yield Postings(key, float(self._plan.floor), items[start:stop], scores[start:stop])

    def _accuracy(self, candidate: Candidate, lists: Lists, found: Found, scores: SampleScores) -> float:
        completed = InBlockToBe(scores) if candidate.block else None
        world = World(self._plan.num_items, Exact(scores), self._events, lists, completed)
        answers = replay(Query(self._encoded, found.keys, self._seen), world, self._cut)
        values = self._measure(answers[candidate.sums], answers[EXACT])
        self.num_queries = int((~np.isnan(values)).sum())
        mean = measures.mean(values)
        if mean is None:
            raise UserError(
                f"--max_bytes: none of the {len(self._seen):,} queries sampled of {self._queries_file} has targets or"
                " an exact answer, so nothing tells which index is best; give other --queries, or choose by"
                " --postings_per_code, --score_bits and --no_block instead"
            )
        return mean

    def _measure(self, found: Best, exact: Best) -> np.ndarray:
        if self._by_targets:
            return measures.ndcg(found.rows, self._relevant, self._cut)
        return measures.overlap(found.rows, exact.rows, self._cut)


def _rounded(lists: Iterable[Postings], candidate: Candidate) -> Iterable[tuple[int, np.ndarray, np.ndarray]]:
    for each in lists:
        found = decode(encode_list(each, candidate.score_bits), "within the budget")
        yield found.key, found.items, found.scores
