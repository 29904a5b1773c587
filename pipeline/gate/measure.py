"""As many requests as it takes to know, within bounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from pipeline.gate.asking import Comparison
from pipeline.gate.latency import Estimate, canary_p99, estimate, ratio_of_p99
from pipeline.gate.rules import Limits
from protos.errors import UserError
from serving.client import Query, RecommendClient

_WARM_UP = 20
_TELLS_APART = 2.0
_UNANSWERED = 0.5


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much is asked.

    Attributes:
      min_requests: to each server, at least, and every query at least once.
      max_requests: to each server, where noise leaves open whether the canary is too slow.
      seed: of the order.
    """

    min_requests: int = 1000
    max_requests: int = 8000
    seed: int = 0


def measure(
    stable: RecommendClient, canary: RecommendClient, queries: Sequence[Query], limits: Limits, effort: Effort
) -> tuple[Comparison, Mapping[str, Estimate]]:
    """Asks both until it is clear whether the canary's times are within the limits, or enough was asked.

    Returns:
      What both said, and the estimates of the canary's "p99", in seconds, and of the "ratio" of both.

    Raises:
      UserError: one of them does not answer, they are not two versions, or the times are so noisy that one could not
        tell a canary that takes twice as long.
    """
    compared = Comparison(stable, canary, queries, effort.seed)
    compared.warm_up(_WARM_UP)
    wanted = max(effort.min_requests, len(queries))
    while True:
        compared.ask(wanted - compared.rounds)
        compared.require_two_versions()
        _require_answers(compared)
        times = _times(compared)
        limit = {"p99": limits.max_p99_ms / 1000, "ratio": limits.max_p99_ratio}
        open_ = [name for name, found in times.items() if found.verdict(limit[name]) is None]
        if not open_ or compared.rounds >= effort.max_requests:
            break
        wanted = min(2 * compared.rounds, effort.max_requests)
    noise = times["ratio"]
    if "ratio" in open_ and noise.high > _TELLS_APART * noise.low:
        raise UserError(
            f"too noisy to compare: after {compared.rounds} requests to each, the canary's p99 is {noise.low:.2f} to"
            f" {noise.high:.2f} times stable's; ask more (--max_requests), or when less else goes on"
        )
    return compared, times


def _require_answers(compared: Comparison) -> None:
    if compared.stable.failed > _UNANSWERED * compared.rounds:
        raise UserError(
            f"--stable {compared.stable.client.address} failed {compared.stable.failed} of {compared.rounds} requests"
            f" ({dict(compared.stable.failures)}): there is nothing to compare with"
        )


def _times(compared: Comparison) -> dict[str, Estimate]:
    sides = compared.stable.seconds, compared.canary.seconds
    return {"p99": estimate(*sides, canary_p99), "ratio": estimate(*sides, ratio_of_p99)}
