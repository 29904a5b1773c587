"""A schema's files, whatever their format, give the same interactions."""

from __future__ import annotations

import datetime
import logging
import pathlib
import tempfile

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protos.errors import UserError
from tests.support.data_files import REPOSITORY
from tests.support.own_data import FORMATS, write, write_schema
from tests.trainer.test_data_interactions import expected_events, public
from trainer.config import FeatureConfig, FeaturesConfig
from trainer.data import load, split

ids = st.text('ab07,"é |', min_size=1, max_size=4)
event_lists = st.lists(st.tuples(ids, ids, st.integers(10**9, 10**9 + 9)), min_size=1, max_size=30)
LOG = {"user": ["u1", "u1", "u2"], "item": ["a", "b", "a"], "time": [1_000_000_100, 1_000_000_000, 1_000_000_050]}
PUBLIC = [("u1", "b", 1_000_000_000), ("u1", "a", 1_000_000_100), ("u2", "a", 1_000_000_050)]
NAMED = {"user": "user", "item": "item", "time": "time"}


def log_schema(path: pathlib.Path, columns=None, file: str = "log.parquet", **more):
    """Writes a log and its schema, and returns the schema's path."""
    write(path / file, LOG if columns is None else columns)
    return write_schema(path / "own.yaml", {"interactions": {"files": file, **NAMED, **more}})


def message(path: pathlib.Path) -> str:
    with pytest.raises(UserError) as caught:
        load(path)
    return str(caught.value)


@settings(deadline=None, max_examples=15)
@given(event_lists, st.integers(1, 3))
@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_gives_the_same_interactions(ending, events, shards):
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory)
        size = -(-len(events) // shards)
        for number, first in enumerate(range(0, len(events), size)):
            columns = dict(zip(("user", "item", "time"), zip(*events[first : first + size], strict=True), strict=True))
            write(path / "log" / f"part-{number}.{ending}", columns, **FORMATS[ending])
        (path / "log" / "_SUCCESS").touch()
        schema = write_schema(path / "own.yaml", {"interactions": {"files": "log", **NAMED, **FORMATS[ending]}})
        assert public(load(schema)) == expected_events(events)


@pytest.mark.parametrize("files", ["log-*.csv", "./log-?.csv", ["log-1.csv", "log-2.csv"], "file://{}/log-*.csv"])
def test_files_are_paths_globs_and_urls(tmp_path, files):
    for number, rows in ((1, slice(0, 1)), (2, slice(1, 3))):
        write(tmp_path / f"log-{number}.csv", {name: values[rows] for name, values in LOG.items()})
    files = files.format(tmp_path) if isinstance(files, str) else files
    assert public(load(write_schema(tmp_path / "own.yaml", {"interactions": {"files": files, **NAMED}}))) == PUBLIC


def test_urls_of_other_systems_go_through_fsspec(tmp_path):
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/log/part-0.csv", write(tmp_path / "log.csv", LOG).read_bytes())
    for files in ("memory://bucket/log", "memory://bucket/log/*.csv", "memory://bucket/log/part-0.csv"):
        assert public(load(write_schema(tmp_path / "own.yaml", {"interactions": {"files": files, **NAMED}}))) == PUBLIC


SECONDS = [1_000_000_100, 1_000_000_000, 1_000_000_050]
UTC = [datetime.datetime.fromtimestamp(second, datetime.UTC) for second in SECONDS]
EASTERN = [time.astimezone(datetime.timezone(datetime.timedelta(hours=2))) for time in UTC]


@pytest.mark.parametrize(
    ("values", "spec"),
    [
        (SECONDS, {}),
        ([float(second) + 0.25 for second in SECONDS], {}),
        ([1000 * second + 999 for second in SECONDS], {"unit": "ms"}),
        ([10**9 * second + 1 for second in SECONDS], {"unit": "ns"}),
        ([str(second) for second in SECONDS], {}),
        ([time.isoformat() for time in UTC], {}),
        ([UTC[0].strftime("%Y-%m-%d %H:%M:%S"), UTC[1].isoformat(), EASTERN[2].isoformat()], {}),
        ([time.strftime("%d/%m/%Y %H:%M:%S") for time in UTC], {"format": "%d/%m/%Y %H:%M:%S"}),
        ([f"+{second}" for second in SECONDS], {}),
        ([f" +{second}.5 " for second in SECONDS], {}),
        ([int(time.strftime("%Y%m%d%H%M%S")) for time in UTC], {"format": "%Y%m%d%H%M%S"}),
        (pa.array(EASTERN, pa.timestamp("ms", "+02:00")), {}),
        (pa.array([time.replace(tzinfo=None) for time in UTC], pa.timestamp("ns")), {}),
    ],
    ids=lambda value: str(value)[:30],
)
@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_times_of_every_kind(tmp_path, values, spec, ending):
    if ending == "csv" and not isinstance(values, list):
        values = [str(time) for time in values.to_pylist()]
    schema = log_schema(tmp_path, {**LOG, "time": values}, f"log.{ending}", time={"column": "time", **spec})
    assert public(load(schema)) == PUBLIC


@pytest.mark.parametrize("layout", ["%s", "%Q", "%Y-%", "%Y %Y"])
@pytest.mark.parametrize("values", [SECONDS, [time.isoformat() for time in UTC]], ids=["numbers", "text"])
def test_formats_that_are_none_are_named(tmp_path, layout, values):
    text = message(log_schema(tmp_path, {**LOG, "time": values}, time={"column": "time", "format": layout}))
    assert f"time.format is {layout!r}" in text


def test_a_format_reads_numbers_by_their_digits_also_beside_nulls(tmp_path):
    columns = {**LOG, "time": [float(time.strftime("%Y%m%d%H%M%S")) for time in UTC]}
    assert public(load(log_schema(tmp_path, columns, time={"column": "time", "format": "%Y%m%d%H%M%S"}))) == PUBLIC


def test_numbers_may_have_a_plus(tmp_path):
    columns = {**LOG, "amount": ["+1.5", "+2", "-3"]}
    data = load(log_schema(tmp_path, columns, "log.csv", weight="amount"))
    assert data.event_features["weight"].to_pylist() == [2.0, 1.5]


def test_fractions_of_a_second_order_events_and_no_times_leave_their_order(tmp_path):
    columns = {
        "user": ["u"] * 3,
        "item": ["a", "b", "c"],
        "time": [1_000_000_000.75, 1_000_000_000.25, 1_000_000_000.5],
    }
    events = public(load(log_schema(tmp_path, columns)))
    assert [item for _, item, _ in events] == ["b", "c", "a"]
    schema = write_schema(
        tmp_path / "own.yaml", {"interactions": {"files": "log.parquet", "user": "user", "item": "item"}}
    )
    assert public(load(schema)) == [("u", "a", 0), ("u", "b", 1), ("u", "c", 2)]


def test_ids_may_be_whole_numbers_also_as_pandas_has_them_beside_nulls(tmp_path):
    columns = {**LOG, "user": [1, 1, 2], "item": [7.0, 8.0, 7.0]}
    write(tmp_path / "items.csv", {"id": [7], "name": ["seven"]})
    write(tmp_path / "log.parquet", columns)
    items = {"files": "items.csv", "id": "id", "title": "name"}
    schema = write_schema(tmp_path / "own.yaml", {"interactions": {"files": "log.parquet", **NAMED}, "items": items})
    data = load(schema)
    assert public(data)[0] == ("1", "8", 1_000_000_000)
    assert data.catalogue.title == ("seven", "8")


def test_whole_numbers_are_one_id_whether_a_file_of_text_has_them_with_a_point_or_without(tmp_path):
    write(tmp_path / "log.csv", {"user": ["1.0", "-2.0", "x.0"], "item": ["7.0", "8.0", "9.50"], "time": [1, 2, 3]})
    write(tmp_path / "items.csv", {"id": [7, 8], "name": ["seven", "eight"]})
    items = {"files": "items.csv", "id": "id", "title": "name"}
    data = load(write_schema(tmp_path / "own.yaml", {"interactions": {"files": "log.csv", **NAMED}, "items": items}))
    assert public(data) == [("1", "7", 1), ("-2", "8", 2), ("x.0", "9.50", 3)]
    assert data.catalogue.title == ("seven", "eight", "9.50")


@pytest.mark.parametrize(("rows", "warned"), [(range(20), False), (range(1, 20), False), (range(3, 20), True)])
def test_a_table_that_lacks_many_ids_of_the_log_is_warned_of(tmp_path, caplog, rows, warned):
    log = {"user": ["u"] * 20, "item": range(20), "time": range(20)}
    write(tmp_path / "items.csv", {"id": rows, "name": [f"n{row}" for row in rows]})
    write(tmp_path / "log.csv", log)
    items = {"files": "items.csv", "id": "id", "title": "name"}
    load(write_schema(tmp_path / "own.yaml", {"interactions": {"files": "log.csv", **NAMED}, "items": items}))
    assert ("items.id: no row for an item of the log (3)" in caplog.text) == warned
    assert ("no row" in caplog.text) == warned


def test_types_and_weights_choose_events(tmp_path):
    columns = {
        "user": ["u"] * 5,
        "item": list("abcde"),
        "time": [10**9] * 5,
        "what": ["view", "buy", "view", "remove", "buy"],
        "amount": [1.0, 1.0, 5.0, 9.0, 0.1],
    }
    event = {"column": "what", "types": {"view": 0.5, "buy": 2}}
    data = load(log_schema(tmp_path, columns, event=event, weight="amount", min_weight=1))
    assert [item for _, item, _ in public(data)] == ["b", "c"]
    assert data.event_features["weight"].to_pylist() == [2.0, 2.5]
    data = load(log_schema(tmp_path, columns, event=event))
    assert [item for _, item, _ in public(data)] == ["a", "b", "c", "e"]
    text = message(log_schema(tmp_path, columns, event=event, min_weight=3))
    assert "interactions: no event in" in text
    assert "5 rows, of which 5 do not count" in text


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("column", ["amount", "weight"])
def test_the_weight_that_is_made_may_be_a_feature(tmp_path, ending, column):
    columns = {**LOG, "what": ["view", "buy", "buy"], column: [3.0, 1.0, 2.0]}
    features = [{"name": "weight", "kind": "number", "bins": 4}]
    event = {"column": "what", "types": {"view": 0.5, "buy": 2}}
    file = f"log.{ending}"
    data = load(log_schema(tmp_path, columns, file, event=event, weight=column, features=features))
    assert data.event_features["weight"].to_pylist() == [2.0, 1.5, 4.0]
    assert data.declared.events == (FeatureConfig("weight", "number", bins=4),)
    data = load(log_schema(tmp_path, columns, file, event=event, features=features))
    assert data.event_features["weight"].to_pylist() == [2.0, 0.5, 2.0]
    own = [{**features[0], "column": column}]
    data = load(log_schema(tmp_path, columns, file, event=event, weight=column, features=own))
    assert data.event_features["weight"].to_pylist() == [1.0, 3.0, 2.0]


def test_a_feature_named_weight_is_a_column_where_events_weigh_nothing(tmp_path):
    features = [{"name": "weight", "kind": "number"}]
    data = load(log_schema(tmp_path, {**LOG, "weight": [3.0, 1.0, 2.0]}, features=features))
    assert data.event_features["weight"].to_pylist() == [1.0, 3.0, 2.0]
    assert "interactions.weight: there is no such column" in message(log_schema(tmp_path, features=features))


def test_rows_of_types_that_do_not_count_need_nothing(tmp_path):
    columns = {**LOG, "item": ["a", None, "b"], "time": [10**9, None, 10**9], "what": ["buy", "logout", "buy"]}
    assert len(load(log_schema(tmp_path, columns, event={"column": "what", "types": {"buy": 1}}))) == 2
    assert "interactions.item: no value" in message(log_schema(tmp_path, columns, event="what"))
    columns["what"][2] = None
    text = message(log_schema(tmp_path, columns, event={"column": "what", "types": {"buy": 1}}))
    assert "interactions.what: no value; the row is left out (1 of 3 rows)" in text


def test_times_of_a_wrong_unit_are_warned_of(tmp_path, caplog):
    columns = {**LOG, "time": [1000 * time for time in LOG["time"]]}
    assert len(load(log_schema(tmp_path, columns))) == 3
    assert "a time in the future (3)" in caplog.text
    assert "looks like milliseconds: set `unit: ms`" in caplog.text


@pytest.fixture(scope="module", params=["parquet", "csv", "tfrecord"])
def described(request, tmp_path_factory):
    """Schema of a log with tables of both kinds, and features of each kind."""
    path, ending = tmp_path_factory.mktemp("described"), request.param
    write(path / f"log.{ending}", {**LOG, "device": ["phone", None, "tv"]})
    parted = ending == "csv"
    items = {
        "sku": ["b", "x", "a"],
        "label": ["Bee", "Ex", "Ay"],
        "tags": ["p|q", "q", None] if parted else [["p", "q"], ["q"], None],
        "price": [1.5, 2.0, None],
        "look": ["1 2", "3 4", "5 6"] if parted else [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
    }
    write(path / f"items.{ending}", items)
    write(path / f"users.{ending}", {"user": ["u1", "u9"], "land": ["DE", "FR"]})
    tags = {"name": "genres", "column": "tags", "kind": "multi_category"} | ({"separator": "|"} if parted else {})
    look = {"name": "look", "kind": "vector"} | ({"separator": " "} if parted else {})
    features = [tags, {"name": "price", "kind": "number", "bins": 4}, look]
    schema = {
        "name": "shop",
        "interactions": {
            "files": f"log.{ending}",
            **NAMED,
            "features": [{"name": "device", "kind": "category"}],
        },
        "items": {"files": f"items.{ending}", "id": "sku", "title": "label", "features": features},
        "users": {"files": f"users.{ending}", "id": "user", "features": [{"name": "land", "kind": "category"}]},
    }
    return load(write_schema(path / "own.yaml", schema))


def test_tables_describe_items_users_and_events(described):
    assert described.name == "shop"
    assert public(described) == PUBLIC
    catalogue = described.catalogue
    assert (catalogue.item_id, catalogue.title, catalogue.genres) == (("a", "b"), ("Ay", "Bee"), ((), ("p", "q")))
    assert catalogue.features["price"].to_pylist() == [None, 1.5]
    assert catalogue.features["look"].to_pylist() == [[5.0, 6.0], [1.0, 2.0]]
    assert described.user_features["land"].to_pylist() == ["DE", None]
    assert described.event_features["device"].to_pylist() == [None, "phone", "tv"]


def test_declared_features_fill_what_the_configuration_leaves_open(described):
    declared = split(described).declared
    assert declared.items == (
        FeatureConfig("genres", "multi_category"),
        FeatureConfig("price", "number", bins=4),
        FeatureConfig("look", "vector"),
    )
    assert FeaturesConfig().filled(declared) == declared
    own = FeaturesConfig(items=(FeatureConfig("title", "text"),), id_dropout=0.5)
    assert own.filled(declared) == FeaturesConfig(own.items, declared.events, declared.users, 0.5)
    assert FeaturesConfig(from_data=False).filled(declared) == FeaturesConfig(from_data=False)
    with pytest.raises(UserError, match=r"id_dropout is 0.5, but features.items is empty"):
        FeaturesConfig(id_dropout=0.5).filled(FeaturesConfig())


def test_few_bad_rows_are_left_out_with_a_warning_and_many_fail(tmp_path, caplog):
    columns = {"user": ["u"] * 2000, "item": [*map(str, range(1999)), None], "time": [10**9] * 2000}
    schema = log_schema(tmp_path, columns)
    with caplog.at_level(logging.WARNING):
        assert len(load(schema)) == 1999
    assert "interactions.item: no value; the row is left out (1 of 2,000 rows)" in caplog.text
    assert "log.parquet, row 2000: found nothing" in caplog.text
    columns["user"][5] = columns["user"][7] = None
    text = message(log_schema(tmp_path, columns))
    assert "interactions.user: no value; the row is left out (2 of 2,000 rows)" in text
    assert "row 6: found nothing" in text
    assert "max_bad_share" in text
    schema.write_text(schema.read_text().replace('{"interactions"', '{"max_bad_share": 0.01, "interactions"'))
    assert len(load(schema)) == 1997


@pytest.mark.parametrize("name", ["item_id", "removed"])
def test_features_cannot_take_the_place_of_a_catalogues_own_columns(tmp_path, name):
    write(tmp_path / "log.csv", LOG)
    items = {"files": "items.csv", "id": "id", "features": [{"name": name, "kind": "category"}]}
    schema = {"interactions": {"files": "log.csv", **NAMED}, "items": items}
    assert f"{name!r} is a column that every catalogue has" in message(write_schema(tmp_path / "own.yaml", schema))


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({}, "expected a section 'interactions'"),
        ({"interactions": {"files": "log.csv", "user": "user"}}, "interactions has no field 'item'"),
        ({"interactions": {"files": "log.csv", **NAMED, "tme": "at"}}, "'tme' is unknown; did you mean 'time'?"),
        ({"interactions": {"files": "log.csv", **NAMED, "time": {"column": "t", "unit": "h"}}}, "unit is 'h'; choose"),
        ({"interactions": {"files": "log.csv", **NAMED}, "max_bad_share": 2}, "max_bad_share is 2.0; it must be in"),
        ({"interactions": {"files": [], **NAMED}}, "interactions.files is empty"),
        ({"interactions": {"files": "nowhere", **NAMED}}, "nowhere names no data file"),
        ({"interactions": {"files": "own.yaml", **NAMED}}, "has no ending that tells its format"),
        ({"interactions": {"files": "s4://x/y.csv", **NAMED}}, "s4://"),
        (
            {"interactions": {"files": "log.csv", **NAMED, "features": [{"name": "k", "kind": "number"}]}},
            "events or users cannot name an input of a query",
        ),
        ({"interactions": {"files": "log.csv", **NAMED, "names": ["user", "itm", "time"]}}, "did you mean 'itm'?"),
        (
            {"interactions": {"files": "log.csv", **NAMED, "user": "User"}},
            "log.csv: it has 'user', 'item', 'time'. Did you mean 'user'?",
        ),
    ],
)
def test_what_is_wrong_with_a_schema_is_named(tmp_path, schema, expected):
    write(tmp_path / "log.csv", LOG)
    assert expected in message(write_schema(tmp_path / "own.yaml", schema))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("log.parquet", b"PAR1 but not really", "log.parquet cannot be read as parquet"),
        ("log.csv", b"user,item,time\nu,\xff,1\n", "log.csv cannot be read as csv"),
        ("log.csv", b"", "log.csv: 0 rows"),
        ("log.jsonl", b"", "log.jsonl: 0 rows"),
        ("log.csv.gz", b"no gzip", "log.csv.gz cannot be read as csv"),
        ("log.tfrecord", b"no records at all", "log.tfrecord: corrupted record"),
        ("log.jsonl", b"{", "log.jsonl cannot be read as jsonl"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content)
    assert expected in message(write_schema(tmp_path / "own.yaml", {"interactions": {"files": name, **NAMED}}))


def test_shards_may_be_empty_and_begin_with_a_byte_order_mark(tmp_path):
    write(tmp_path / "log" / "part-1.csv", {name: [] for name in LOG})
    content = write(tmp_path / "log" / "part-2.csv", LOG).read_bytes()
    (tmp_path / "log" / "part-2.csv").write_bytes(b"\xef\xbb\xbf" + content)
    write(tmp_path / "log" / "part-3.tfrecord", {name: [] for name in LOG})
    write(tmp_path / "log" / "part-4.parquet", {name: [] for name in LOG})
    assert public(load(write_schema(tmp_path / "own.yaml", {"interactions": {"files": "log", **NAMED}}))) == PUBLIC


def test_other_encodings_are_read(tmp_path):
    (tmp_path / "log.csv").write_bytes("user,item,time\nJosé,ü,1000000000\n".encode("latin-1"))
    schema = {"interactions": {"files": "log.csv", "encoding": "latin-1", **NAMED}}
    assert public(load(write_schema(tmp_path / "own.yaml", schema))) == [("José", "ü", 10**9)]


def test_the_schema_of_the_documentation_is_one(tmp_path):
    section = (REPOSITORY / "docs" / "data.md").read_text().partition("\n## Your own data\n")[2]
    text = section.partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "shop.yaml").write_text(text)
    log = {"customer_id": [1, 1, 2], "product_id": ["a", "b", "a"], "at": [10**12] * 3, "amount": [1, 1, 1]}
    write(tmp_path / "events" / "part-0.parquet", {**log, "what": ["view", "buy", "play"]})
    write(tmp_path / "products.csv", {"product_id": ["a"], "name": ["Ay"], "tags": ["x|y"], "price": [2.5]})
    write(tmp_path / "customers.csv", {"customer_id": [1], "country": ["DE"]})
    data = load(tmp_path / "shop.yaml")
    assert public(data) == [("1", "a", 10**9), ("1", "b", 10**9)]
    assert data.catalogue.genres == (("x", "y"), ())
