"""The exported scorer: scores at once or in stages, over tables of items that can be changed without the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from trainer.ensemble import AnySparCode
from trainer.features.serving import input_specs, input_vectors, inputs_of


class ScorerModule(tf.Module):
    """Scores before bias and ReLU of code keys and catalogue rows, at once or in stages; sums from tokens and rows.

    What scores depend on of the items stands in tables, so that `trainer.extend` can add and change items.

    Attributes:
      functions: signatures by name. `serving_default` and `rescore`: see the contract of run/export. In stages,
        `pairs(codes(keys), items(items))` is `serving_default(keys, items)`: `codes` gives tensors `codes_*
        [C, ...]`, `items` gives `items_* [I, ...]`, and `pairs` takes both, so that who scores many codes with
        many items makes the parts of each only once. `embed`, where items have features: their columns to
        vectors `vectors_* [N, D]`, one a member, which ids' vectors are to be added to.
      tables: what `SparCode.item_rows` gives of all rows; the number of rows is open.
      ids: where items have features, what their ids add to them, `[I, D]` for each member.
    """

    def __init__(self, model: AnySparCode) -> None:
        super().__init__()
        # Not the whole model: its table of embeddings is in the tables already.
        self.weights = [(each.quantizer.variables, each.scorer.variables, each.bias) for each in model.members]
        rows = tf.range(model.num_items)
        self.tables = tf.nest.map_structure(_table, tf.nest.flatten(model.item_rows(rows)))
        self.ids = []
        keys, items = tf.TensorSpec([None], tf.int64, name="keys"), tf.TensorSpec([None], tf.int32, name="items")
        tokens = tf.TensorSpec([None, model.num_query_tokens, model.config.tokenizer.dim], tf.float32, name="tokens")
        candidates = tf.TensorSpec([None, None], tf.int32, name="items")
        packed = model.item_rows(tf.zeros([0], tf.int32))

        def gathered(rows: tf.Tensor) -> Any:
            return tf.nest.pack_sequence_as(packed, [tf.gather(table, rows) for table in self.tables])

        def score(keys: tf.Tensor, items: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"scores": model.score_pairs(model.code_parts(keys), model.item_parts(gathered(items)))}

        def rescore(tokens: tf.Tensor, items: tf.Tensor) -> dict[str, tf.Tensor]:
            contributions = model.rescore(tokens, gathered(items))
            return {"scores": tf.reduce_sum(contributions, 1), "contributions": contributions}

        self.functions = {
            "serving_default": _traced(score, keys, items),
            "rescore": _traced(rescore, tokens, candidates),
            **_stages(model, lambda rows: model.item_parts(gathered(rows)), keys, items),
        }
        if model.config.features.items:
            self.ids = [_table(tf.gather(each.item_embeddings, rows)) for each in model.members]
            # The encoders' tables of categories are no variables.
            self.features = [
                (each.item_features.fitted.encoders, each.item_features.sum.variables) for each in model.members
            ]
            self.functions["embed"] = _embed(model)


def _table(values: tf.Tensor) -> tf.Variable:
    return tf.Variable(values, trainable=False, shape=[None, *values.shape[1:]])


def _stages(
    model: AnySparCode, item_parts: Callable[[tf.Tensor], Any], keys: tf.TensorSpec, items: tf.TensorSpec
) -> dict[str, Callable]:
    """The signatures `codes`, `items` and `pairs`; see ScorerModule."""
    structures = {}

    def flat(stage: str, parts: Any) -> dict[str, tf.Tensor]:
        structures[stage] = tf.nest.map_structure(lambda part: None, parts)
        return {f"{stage}_{number:02}": part for number, part in enumerate(tf.nest.flatten(parts))}

    def packed(stage: str, inputs: Mapping[str, tf.Tensor]) -> Any:
        return tf.nest.pack_sequence_as(structures[stage], [inputs[name] for name in sorted(inputs) if stage in name])

    codes = _traced(lambda keys: flat("codes", model.code_parts(keys)), keys)
    parts = _traced(lambda items: flat("items", item_parts(items)), items)
    inputs = {
        name: tf.TensorSpec([None, *output.shape[1:]], output.dtype, name)
        for name, output in (codes.structured_outputs | parts.structured_outputs).items()
    }
    score = tf.function(
        lambda **inputs: {"scores": model.score_pairs(packed("codes", inputs), packed("items", inputs))}
    )
    return {"codes": codes, "items": parts, "pairs": score.get_concrete_function(**inputs)}


def _embed(model: AnySparCode) -> Callable:
    """The signature `embed`; see ScorerModule."""

    def embed(**columns: tf.Tensor) -> dict[str, tf.Tensor]:
        count = tf.shape(next(iter(columns.values())))[:1]
        return {
            f"vectors_{number:02}": input_vectors(each.item_features, columns, count)
            for number, each in enumerate(model.members)
        }

    # An item's features come as a user's do: one value each.
    specs = input_specs(inputs_of(None, model.members[0].item_features))
    return tf.function(embed).get_concrete_function(**specs)


def _traced(function: Callable, *inputs: tf.TensorSpec) -> Callable:
    return tf.function(function, input_signature=inputs).get_concrete_function()
