"""A model whose queries bring features of every kind goes through export, build, quality check and search request.

I1 for what queries bring: the codes that the index knows are those that the training model gives.
"""

from __future__ import annotations

import json
import pathlib
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from beam_index.build import run_here
from beam_index.fill_query import main as fill_query
from beam_index.fill_query import of_history
from beam_index.quality import Quality
from beam_index.search_engine.query import QUERY_FILE, SCALES_FILE, Query, template
from protos.artifact import read_manifest
from protos.errors import UserError
from tests.beam_index.oracle import written_bytes, written_lists
from tests.beam_index.replays import replayed
from tests.support.context import CATALOGUE, COLUMNS, ITEMS, model_of, random_queries
from trainer.data.histories import Histories
from trainer.export import FORMAT, export
from trainer.exported_queries import SampleQueries
from trainer.extend import extend
from trainer.model import SparCode

QUERIES = random_queries(60, seed=4)
K = 8


class World(NamedTuple):
    model: SparCode
    export: pathlib.Path
    index: pathlib.Path
    quality: Quality

    def keys(self, histories: Histories) -> np.ndarray:
        """Keys `[B, K_u]` that the training model gives."""
        windows = tf.constant(self.model.windows_of(histories))
        return self.model.quantize(self.model.last_query_vectors(windows)).keys.numpy()

    def queries(self) -> dict[str, list]:
        """The columns of the export's queries."""
        return pq.read_table(self.export / "queries.parquet").to_pydict()


def build(model: pathlib.Path, index: pathlib.Path, *options: str):
    fixed = ["--codes=observed", "--direct_running_mode=in_memory", "--no-progress", "--quality_queries=0"]
    return run_here(["--model", str(model), "--output", str(index), *fixed, *options])


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    root = tmp_path_factory.mktemp("features")
    model = model_of(num_codewords=64)
    relevant = [np.array([number % ITEMS]) if number % 2 else np.zeros(0, int) for number in range(len(QUERIES))]
    export(model, CATALOGUE, SampleQueries(QUERIES, relevant, COLUMNS), root / "export")
    report = build(root / "export", root / "index", "--score_bits=32", "--quality_queries=100")
    return World(model, root / "export", root / "index", report.quality)


def indexed_codes(index: pathlib.Path) -> list[int]:
    return sorted(each.key for each in written_lists(index))


def test_the_index_knows_the_codes_that_the_training_model_gives(world):
    expected = np.unique(world.keys(QUERIES)).tolist()
    assert indexed_codes(world.index) == expected
    of_histories_alone = np.unique(world.keys(Histories.of(QUERIES.rows))).tolist()
    assert of_histories_alone != expected


def test_the_quality_check_scores_queries_as_the_training_model_does(world):
    queries = world.queries()
    del queries["relevant"]
    exact = replayed(world.export, world.index, queries.pop("history"), K, **queries)["exact"]
    scores = world.model.catalogue_scores(tf.constant(world.model.windows_of(QUERIES))).numpy()
    for query, rows in enumerate(QUERIES.rows):
        scores[query, rows] = -np.inf
    np.testing.assert_allclose(exact.scores, -np.sort(-scores, axis=1)[:, :K], rtol=1e-4)
    assert world.quality.queries["sample"] == len(QUERIES)
    assert world.quality.unknown == 0  # every code of the sample is observed
    assert world.quality.fidelity > 0.9


def test_a_budget_is_spent_on_the_same_codes(world, tmp_path):
    report = build(world.export, tmp_path / "index", "--max_bytes=40000", "--score_bits=16", "--quality_queries=20")
    assert report.budget.measure == "ndcg@50"
    assert indexed_codes(tmp_path / "index") == indexed_codes(world.index)


def test_a_file_without_what_queries_bring_is_refused_and_one_of_nulls_is_not(world, tmp_path):
    table = pq.read_table(world.export / "queries.parquet")
    pq.write_table(table.drop_columns(["tags"]), tmp_path / "less.parquet")
    less = ["--queries", str(tmp_path / "less.parquet")]
    message = r"less.parquet \(--queries\).*bring 'tags' too, a multi_category of the event: expected a column"
    for use in (["--codes=observed"], ["--codes=all", "--quality_queries=5"]):
        with pytest.raises(UserError, match=message):
            build(world.export, tmp_path / "index", *less, *use)
    nulls = {name: pa.nulls(len(table)) for name in table.column_names if name not in ("history", "relevant")}
    pq.write_table(pa.table({"history": table["history"], **nulls}), tmp_path / "nulls.parquet")
    build(world.export, tmp_path / "index", "--queries", str(tmp_path / "nulls.parquet"))
    assert indexed_codes(tmp_path / "index") == np.unique(keys_without_features(world)).tolist()


def keys_without_features(world: World) -> np.ndarray:
    """Keys of the queries when every value is missing, by the exported query model."""
    query = tf.saved_model.load(str(world.export / "query")).signatures["serving_default"]
    histories = [["", *(f"item {row}" for row in rows)] for rows in QUERIES.rows]
    width = max(map(len, histories))
    inputs = {"history": tf.constant([history + [""] * (width - len(history)) for history in histories])}
    for name, spec in query.structured_input_signature[1].items():
        if name != "history":
            sizes = (
                [len(histories), width, 1] if spec.shape.rank == 3 or name in COLUMNS.events else [len(histories), 1]
            )
            shape = [size if known is None else known for size, known in zip(sizes, spec.shape, strict=False)]
            inputs[name] = tf.fill(shape, np.float32(np.nan) if spec.dtype == tf.float32 else "")
    return query(**inputs)["keys"].numpy()


def test_a_query_that_contradicts_its_contract_is_a_dead_letter(world, tmp_path):
    rows = pq.read_table(world.export / "queries.parquet")
    bad = rows.slice(7, 1).to_pylist()[0]
    bad["rating"] = [1.0] * (len(bad["history"]) + 1)
    pq.write_table(pa.concat_tables([rows, pa.Table.from_pylist([bad], rows.schema)]), tmp_path / "queries.parquet")
    options = ["--queries", str(tmp_path / "queries.parquet"), "--score_bits=32", "--max_bad_share=0.1"]
    report = build(world.export, tmp_path / "index", *options)
    assert report.manifest["counts"]["records"]["queries"] == {"in": 61, "used": 60, "bad": 1}
    (letter,) = (tmp_path / "index" / "dead_letters.jsonl").read_text().splitlines()
    assert json.loads(letter)["row"] == 60
    assert "'rating' has" in json.loads(letter)["reason"]
    assert written_bytes(tmp_path / "index", "postings") == written_bytes(world.index, "postings")


def test_an_extended_export_asks_for_the_same_and_has_the_same_queries(world, tmp_path):
    extend(world.export, None, ["item 2"], tmp_path / "export")
    before, after = (read_manifest(directory, FORMAT) for directory in (world.export, tmp_path / "export"))
    assert before["model"]["query_inputs"] == after["model"]["query_inputs"] != []
    kept = [name for name in before["files"] if name.startswith(("query/", "queries"))]
    assert {name: before["files"][name] for name in kept} == {name: after["files"][name] for name in kept}


@pytest.fixture
def engine(world, tmp_path) -> pathlib.Path:
    """What a search engine's requests are filled from, all codes with a list."""
    space = world.model.code_space
    fingerprint = read_manifest(world.export, FORMAT)["fingerprint"]
    (tmp_path / QUERY_FILE).write_text(json.dumps(template("codes", "row", space, fingerprint)))
    (tmp_path / SCALES_FILE).write_text(json.dumps(dict.fromkeys(range(space.size), 1.0)))
    return tmp_path


def clauses(body: dict) -> set[str]:
    return {clause["rank_feature"]["field"] for clause in body["query"]["bool"]["should"]}


def test_a_search_request_is_made_of_the_keys_of_the_training_model(world, engine, capsys):
    queries = world.queries()
    del queries["relevant"]
    histories, keys, query = queries.pop("history"), world.keys(QUERIES), Query.load(engine)
    features = {name: values[1] for name, values in queries.items()}
    body = of_history(query, world.export, histories[1], 10, features)
    assert clauses(body) == {f"codes.{key}" for key in keys[1]}
    given = json.dumps({name: values[2] for name, values in queries.items() if values[2] is not None})
    flags = ["--history", ",".join(histories[2]), "--features", given]
    fill_query(["--export", str(engine), "--model", str(world.export), *flags])
    assert clauses(json.loads(capsys.readouterr().out)) == {f"codes.{key}" for key in keys[2]}


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"raiting": [1.0]}, r"names 'raiting'; the queries of .* bring rating, device"),
        ({"rating": [1.0, 2.0]}, r"'rating' has 2 values for a history of 1 events"),
        ({"rating": 4.5}, r"--features: column 'rating' is double; expected list<.*float> \(number\)"),
        ({"face": [1.0]}, r"'face' has a vector of 1 numbers; expected 3"),
        ({"tags": [["a", 1]]}, r"'tags' is .* which mixes types"),
    ],
)
def test_features_of_a_request_that_will_not_do_are_named(world, engine, features, message):
    with pytest.raises(UserError, match=rf"--features.*{message.removeprefix('--features')}"):
        of_history(Query.load(engine), world.export, ["item 1"], 10, features)
