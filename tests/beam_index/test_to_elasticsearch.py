import datetime
import gzip
import json
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_index.fill_query import main as fill
from beam_index.search_engine.documents import Writing
from beam_index.search_engine.fields import chosen_columns, mapping, plain
from beam_index.to_elasticsearch import EngineOptions, export, main
from protos.artifact import read_manifest
from protos.errors import UserError
from tests.beam_index.oracle import written_lists
from tests.beam_index.tables import renew_manifest
from tests.support.exports import write_tiny_export
from tests.support.indexes import TinyIndexSpec, write_tiny_index


@pytest.fixture(scope="module")
def index(residual_export, tmp_path_factory):
    directory = tmp_path_factory.mktemp("lists") / "index"
    return write_tiny_index(directory, residual_export, TinyIndexSpec(postings_per_code=6, block=False))


def documents(paths: list[pathlib.Path]) -> list[tuple[str, dict]]:
    """Ids and documents of files of the bulk API."""
    lines = []
    for path in paths:
        content = path.read_bytes()
        lines += (gzip.decompress(content) if path.suffix == ".gz" else content).decode().split("\n")[:-1]
    actions, bodies = ([json.loads(line) for line in lines[start::2]] for start in (0, 1))
    return [(action["index"]["_id"], body) for action, body in zip(actions, bodies, strict=True)]


def test_every_item_is_a_document_with_the_levels_of_its_postings(residual_export, index, tmp_path):
    export(EngineOptions(residual_export, index, tmp_path / "engine"))
    written = documents([tmp_path / "engine" / "items-00000-of-00001.ndjson"])
    assert [item_id for item_id, _ in written] == [f"item-{row}" for row in range(40)]
    scales = json.loads((tmp_path / "engine" / "scales.json").read_text())
    lists = written_lists(index)
    assert list(scales) == [str(each.key) for each in lists]
    codes = [{} for _ in written]
    for each in lists:
        scale = float(np.float32(max(each.scores, default=0)) / np.float32(255))
        assert scale == scales[str(each.key)]
        for row, score in zip(each.items, each.scores, strict=True):
            codes[row][str(each.key)] = max(1, round(score / scale))
    for row, (_, document) in enumerate(written):
        genres = ["Drama"] if row % 2 else ["Comedy", "Drama"]
        assert document == {"row": row, "title": f"Film {row}", "genres": genres, "codes": codes[row]}
        assert list(document["codes"]) == sorted(document["codes"], key=int)


def test_the_mapping_names_all_fields(residual_export, index, tmp_path):
    export(EngineOptions(residual_export, index, tmp_path / "engine", columns=["genres"]))
    fields = json.loads((tmp_path / "engine" / "mapping.json").read_text())["mappings"]["properties"]
    assert fields == {"row": {"type": "integer"}, "genres": {"type": "keyword"}, "codes": {"type": "rank_features"}}
    _, document = documents(sorted((tmp_path / "engine").glob("items-*")))[0]
    assert set(document) == {"row", "genres", "codes"}


@pytest.mark.parametrize("compress", [False, True])
def test_files_hold_the_same_items_in_the_same_order(residual_export, index, tmp_path, compress):
    export(EngineOptions(residual_export, index, tmp_path / "one"))
    export(EngineOptions(residual_export, index, tmp_path / "three", writing=Writing(3, compress)))
    paths = sorted((tmp_path / "three").glob("items-*"))
    assert [path.name for path in paths] == [Writing(3, compress).name(shard) for shard in range(3)]
    assert documents(paths) == documents(sorted((tmp_path / "one").glob("items-*")))
    assert [len(documents([path])) for path in paths] == [13, 13, 14]


def test_writing_again_gives_the_same_bytes(residual_export, index, tmp_path):
    for name in ("one", "two"):
        export(EngineOptions(residual_export, index, tmp_path / name, writing=Writing(1, True)))
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two


def test_the_manifest_says_what_it_was_made_from(residual_export, index, tmp_path, capsys):
    output = tmp_path / "engine"
    main(["--model", str(residual_export), "--index", str(index), "--output", str(output), "--num_shards=2"])
    manifest = read_manifest(output, "sparcode.search-engine/1")
    made_from = read_manifest(index, "sparcode.index/3")
    lists = written_lists(index)
    postings = sum(len(each.items) for each in lists)
    assert manifest["index_fingerprint"] == made_from["fingerprint"]
    assert manifest["model_fingerprint"] == made_from["model_fingerprint"]
    assert (manifest["items"], manifest["lists"], manifest["postings"]) == (40, len(lists), postings)
    assert f"engine: 40 items, {len(lists)} lists, {postings} postings, " in capsys.readouterr().out


def with_catalogue(directory: pathlib.Path, table: pa.Table) -> EngineOptions:
    """A model of this catalogue, its index, and where to."""
    model = write_tiny_export(directory / "model")
    pq.write_table(table, model / "items.parquet")
    renew_manifest(model)
    index = write_tiny_index(directory / "index", model, TinyIndexSpec(block=False))
    return EngineOptions(model, index, directory / "engine")


IDS = [f"item-{row}" for row in range(40)]
LONG = "é" * 257
CATALOGUES = {
    "id twice": ({"item_id": [*IDS[:-1], "item-3"]}, r"items\.parquet has the item id 'item-3' more than once"),
    "no id": ({"item_id": ["", *IDS[1:]]}, r"items\.parquet, row 0: item id '' cannot be a document's id"),
    "null id": ({"item_id": [None, *IDS[1:]]}, r"items\.parquet, row 0: item id None cannot be"),
    "long id": ({"item_id": [*IDS[:-1], LONG]}, r"row 39: item id 'é+' cannot be a document's id, which has 1 to 512"),
    "few items": ({"item_id": IDS[:-1]}, r"items\.parquet has 39 items, the index .* 40; export the model again"),
    "a field of ours": ({"item_id": IDS, "codes": IDS}, r"has a column 'codes', which is the name of the field of the"),
    "bytes": (
        {"item_id": IDS, "raw": [b"a"] * 40},
        r"column 'raw' of the catalogue is binary, which cannot be a field",
    ),
}


@pytest.mark.parametrize("fault", CATALOGUES)
def test_a_catalogue_that_will_not_do_is_refused_and_nothing_is_left(tmp_path, fault):
    columns, message = CATALOGUES[fault]
    options = with_catalogue(tmp_path, pa.table(columns))
    with pytest.raises(UserError, match=message):
        export(options)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["index", "item_ids.txt", "model"]


def test_values_of_every_kind_are_json(tmp_path):
    columns = {
        "item_id": pa.array(IDS).dictionary_encode(),
        "title": ['a "quoted"\nline\u2028é'] * 40,
        "price": [float("nan"), None, *[1.5] * 38],
        "year": pa.array([1999] * 40, pa.int16()),
        "seen": [True] * 40,
        "released": [datetime.date(2020, 2, 29)] * 40,
        "vector": pa.array([[0.5, float("inf")]] * 40, pa.list_(pa.float32(), 2)),
    }
    options = with_catalogue(tmp_path, pa.table(columns))
    export(options)
    fields = json.loads((options.output / "mapping.json").read_text())["mappings"]["properties"]
    kinds = {name: field["type"] for name, field in fields.items()}
    assert kinds == {
        "row": "integer",
        "title": "text",
        "price": "double",
        "year": "long",
        "seen": "boolean",
        "released": "date",
        "vector": "float",
        "codes": "rank_features",
    }
    (item_id, first), (_, second), (_, third), *_ = documents(sorted(options.output.glob("items-*")))
    assert (item_id, first["title"]) == ("item-0", 'a "quoted"\nline\u2028é')
    assert [each["price"] for each in (first, second, third)] == [None, None, 1.5]
    assert (first["year"], first["seen"], first["released"]) == (1999, True, "2020-02-29")
    assert first["vector"] == [0.5, None]


def test_a_column_that_is_not_there_is_named():
    schema = pa.schema([("item_id", pa.string()), ("title", pa.string())])
    with pytest.raises(UserError, match=r"--columns names 'titel', which items does not have; it has item_id, title"):
        chosen_columns(schema, ["titel"], pathlib.Path("items"))


def test_a_list_of_lists_cannot_be_a_field():
    schema = pa.schema([("codes_of", pa.list_(pa.struct([("a", pa.int32())])))])
    with pytest.raises(UserError, match=r"column 'codes_of' of the catalogue is struct<a: int32>"):
        mapping(schema, ["codes_of"])


def test_plain_leaves_what_json_can_say():
    assert plain(["a", 1, None, [0.5, float("-inf")]]) == ["a", 1, None, [0.5, None]]


@pytest.mark.parametrize("count", [0, 41, 100_000])
def test_no_file_would_be_empty(residual_export, index, tmp_path, count):
    with pytest.raises(UserError, match=rf"--num_shards is {count:,}; expected 1 to "):
        export(EngineOptions(residual_export, index, tmp_path / "engine", writing=Writing(count)))
    assert not (tmp_path / "engine").exists()


def test_an_index_of_another_model_is_refused(product_export, index, tmp_path):
    with pytest.raises(UserError, match=r"was built from another model"):
        export(EngineOptions(product_export, index, tmp_path / "engine"))


def test_only_an_earlier_export_is_replaced(residual_export, index, tmp_path):
    (tmp_path / "engine").mkdir()
    options = EngineOptions(residual_export, index, tmp_path / "engine")
    export(options)
    export(options)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    for path in (tmp_path / "other", tmp_path / "other" / "file"):
        with pytest.raises(UserError, match=r"exists and is no export of this kind; give another directory"):
            export(EngineOptions(residual_export, index, path))


def test_a_query_of_keys_is_filled_in_without_a_model(residual_export, index, tmp_path, capsys):
    export(EngineOptions(residual_export, index, tmp_path / "engine"))
    fill(["--export", str(tmp_path / "engine"), "--keys", "3,-1", "--weights", "1,0", "--seen", "a,b", "--size", "7"])
    body = json.loads(capsys.readouterr().out)
    scales = json.loads((tmp_path / "engine" / "scales.json").read_text())
    (clause,) = body["query"]["bool"]["should"]
    assert clause == {"rank_feature": {"field": "codes.3", "linear": {}, "boost": scales["3"]}}
    assert (body["size"], body["query"]["bool"]["must_not"]) == (7, [{"ids": {"values": ["a", "b"]}}])


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--keys", "1"],
        ["--history", "a"],
        ["--model", "m", "--history", "a", "--keys", "1", "--weights", "1"],
        ["--keys", "a", "--weights", "1"],
    ],
)
def test_a_query_is_given_in_one_way(flags, capsys):
    with pytest.raises(SystemExit, match="2"):
        fill(["--export", "engine", *flags])
    assert "give --model and --history, or --keys" in (error := capsys.readouterr().err) or "invalid" in error


def test_a_query_of_another_model_is_refused(residual_export, product_export, index, tmp_path):
    export(EngineOptions(residual_export, index, tmp_path / "engine"))
    with pytest.raises(
        UserError, match=r"engine was made from another model: it names [0-9a-f]{12}, .* is [0-9a-f]{12}"
    ):
        fill(["--export", str(tmp_path / "engine"), "--model", str(product_export), "--history", "a"])
