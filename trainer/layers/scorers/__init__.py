"""The interactions of a query token and an item, one a file, behind one interface."""

from __future__ import annotations

from trainer.config import ScorerConfig
from trainer.layers.scorers.attention import AttentionScorer
from trainer.layers.scorers.base import Costs, Interaction
from trainer.layers.scorers.cross import CrossNet
from trainer.layers.scorers.dnn import DeepScorer
from trainer.layers.scorers.fm import FactorizationMachine
from trainer.layers.scorers.hybrid import HybridScorer
from trainer.layers.scorers.mixture_of_logits import MixtureOfLogits

__all__ = ["INTERACTIONS", "Costs", "HybridScorer", "Interaction", "make_interaction"]

INTERACTIONS: dict[str, type[Interaction]] = {
    "hybrid": HybridScorer,
    "dnn": DeepScorer,
    "fm": FactorizationMachine,
    "cross": CrossNet,
    "attention": AttentionScorer,
    "mixture_of_logits": MixtureOfLogits,
}


def make_interaction(config: ScorerConfig, num_slots: int, dim: int) -> Interaction | None:
    """The interaction of `config.kind`; None for "none"."""
    return None if config.kind == "none" else INTERACTIONS[config.kind](config, num_slots, dim)
