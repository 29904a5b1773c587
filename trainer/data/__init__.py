"""Interactions in, from every source that is known."""

from trainer.data.interactions import Interactions, Items
from trainer.data.sources import load
from trainer.data.splits import EvaluationQueries, Split, split

__all__ = ["EvaluationQueries", "Interactions", "Items", "Split", "load", "split"]
