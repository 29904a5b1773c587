"""Tokenizers: a history of events becomes the vectors that the quantizer turns into codes."""

from __future__ import annotations

from trainer.config import TokenizerConfig
from trainer.layers.tokenizers.base import Tokenizer
from trainer.layers.tokenizers.capsules import CapsuleTokenizer
from trainer.layers.tokenizers.dropout import StatelessDropout
from trainer.layers.tokenizers.gru import GRUTokenizer
from trainer.layers.tokenizers.mean_pooling import MeanPoolingTokenizer
from trainer.layers.tokenizers.multi_interest import MultiInterestTokenizer
from trainer.layers.tokenizers.padding import PADDING, with_start
from trainer.layers.tokenizers.self_attention import SelfAttentionTokenizer

__all__ = [
    "PADDING",
    "TOKENIZERS",
    "SelfAttentionTokenizer",
    "StatelessDropout",
    "Tokenizer",
    "make_tokenizer",
    "with_start",
]

TOKENIZERS: dict[str, type[Tokenizer]] = {
    "self_attention": SelfAttentionTokenizer,
    "gru": GRUTokenizer,
    "mean_pooling": MeanPoolingTokenizer,
    "capsules": CapsuleTokenizer,
    "multi_interest": MultiInterestTokenizer,
}


def make_tokenizer(config: TokenizerConfig, max_history: int, num_vectors: int) -> Tokenizer:
    """The tokenizer of `config.kind`."""
    return TOKENIZERS[config.kind](config, max_history, num_vectors)
