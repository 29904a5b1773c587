"""A guessed schema passes the check and loads what the files hold."""

from __future__ import annotations

import pathlib
import random

import pyarrow as pa
import pytest
import yaml

from protos.errors import UserError
from tests.support.data_files import real_data, write_dat, write_movielens_csv
from tests.support.own_data import write
from tests.trainer.test_data_interactions import public
from trainer.data import load
from trainer.data.__main__ import main
from trainer.data.schema.sniff import SAMPLE_ROWS

# Enough of each for what columns hold to be told by their values.
_EVENTS = tuple((str(n % 30 + 1), str(n * 7 % 40 + 100), 1_500_000_000 + n) for n in range(300))
_GENRES = ("Drama", "War", "Comedy", "Action")
_TITLES = {
    str(n + 100): (f"Film, the {n} ({1990 + n % 20})", f"{_GENRES[n % 4]}|{_GENRES[(n + 1) % 4]}" if n else "")
    for n in range(40)
}


def init(*paths: pathlib.Path, output: pathlib.Path) -> dict:
    """Guesses, then checks; returns the schema."""
    assert main(["init", *map(str, paths), "--output", str(output)]) == 0
    assert main(["check", "--schema", str(output)]) == 0
    return yaml.safe_load(output.read_text())


def same(one, other) -> None:
    assert public(one) == public(other)
    assert one.catalogue.title == other.catalogue.title
    assert one.catalogue.genres == other.catalogue.genres


@pytest.mark.parametrize("writer", [write_movielens_csv, write_dat])
def test_films_are_understood(tmp_path, writer, capsys):
    directory = writer(tmp_path / "films", _EVENTS, _TITLES)
    schema = init(directory, output=tmp_path / "films.yaml")
    same(load(tmp_path / "films.yaml"), load(directory))
    assert schema["interactions"]["files"].startswith("films/ratings.")
    assert [feature["kind"] for feature in schema["items"]["features"]] == ["text", "multi_category"]
    said = capsys.readouterr().out
    assert "not sure" in said
    assert "0 errors" in said


def test_columns_without_names_are_told_by_the_tables_that_they_link_to(tmp_path):
    directory = write_dat(tmp_path / "films", _EVENTS, _TITLES)
    lines = [f"{item}::{user}::4::{time}\n" for user, item, time in _EVENTS]
    (directory / "ratings.dat").write_text("".join(lines))
    schema = init(directory, output=tmp_path / "films.yaml")
    assert schema["interactions"]["names"] == ["item", "user", "rating", "time"]
    assert public(load(tmp_path / "films.yaml")) == public(load(write_dat(tmp_path / "again", _EVENTS, _TITLES)))


def shop(path: pathlib.Path) -> pathlib.Path:
    """Shards of a log with types of events, and tables with features of all kinds."""
    rng = random.Random(1)
    for shard in range(3):
        log = {
            "customer_id": [rng.randrange(1, 60) for _ in range(200)],
            "product_id": [f"p{rng.randrange(1, 90)}" for _ in range(200)],
            "event_type": [rng.choice(["view", "buy"]) for _ in range(200)],
            "created_at": [1_600_000_000_000 + rng.randrange(10**9) for _ in range(200)],
        }
        write(path / "events" / f"part-{shard}.parquet", log)
    products = {
        "product_id": [f"p{n}" for n in range(1, 120)],
        "product_name": [f"A thing with the number {n}" for n in range(1, 120)],
        "brand": [rng.choice(["x", "y", "z"]) for _ in range(119)],
        "price": [round(rng.uniform(1, 99), 2) for _ in range(119)],
        "colours": [rng.sample(["red", "blue", "green"], 2) for _ in range(119)],
        "look": pa.array([[rng.random() for _ in range(4)] for _ in range(119)], pa.list_(pa.float32())),
        "ean": [10**12 + 7 * n for n in range(119)],
        "empty": pa.nulls(119, pa.string()),
    }
    write(path / "products.parquet", products)
    write(
        path / "customers.csv", {"customer_id": range(1, 60), "country": [rng.choice(["DE", "FR"]) for _ in range(59)]}
    )
    return path


def test_a_shop_is_understood(tmp_path, capsys):
    schema = init(shop(tmp_path / "shop"), output=tmp_path / "shop" / "own.yaml")
    log = schema["interactions"]
    assert log["files"] == "events/*.parquet"
    assert (log["user"], log["item"]) == ("customer_id", "product_id")
    assert log["time"] == {"column": "created_at", "unit": "ms"}
    assert log["event"] == {"column": "event_type"}
    commented = "  # event: {column: event_type, types: {buy: 1.0, view: 1.0}}\n"
    assert commented in (tmp_path / "shop" / "own.yaml").read_text()
    assert (schema["items"]["files"], schema["items"]["title"]) == ("products.parquet", "product_name")
    kinds = {feature["name"]: feature["kind"] for feature in schema["items"]["features"]}
    assert kinds == {
        "product_name": "text",
        "brand": "category",
        "price": "number",
        "colours": "multi_category",
        "look": "vector",
    }
    assert schema["users"]["features"] == [{"name": "country", "kind": "category"}]
    said = capsys.readouterr().out
    assert "column 'ean', left out: almost every row has another whole number: it looks like an id" in said
    assert "column 'empty', left out: it has no values" in said
    data = load(tmp_path / "shop" / "own.yaml")
    assert len(data.catalogue.features["look"][0]) == 4
    assert {feature.name for feature in data.declared.items} == set(kinds)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([f"2020-01-{n % 28 + 1:02} 10:00:00" for n in range(60)], {"column": "date"}),
        ([f"{n % 28 + 1:02}/03/2020" for n in range(60)], {"column": "date", "format": "%d/%m/%Y"}),
        ([f"202001{n % 28 + 1:02}" for n in range(60)], {"column": "date", "format": "%Y%m%d"}),
        ([1_600_000_000 + n for n in range(60)], {"column": "date"}),
    ],
)
def test_times_are_told_by_their_values(tmp_path, values, expected):
    columns = {"user": [n % 7 for n in range(60)], "item": [n % 11 for n in range(60)], "date": values}
    write(tmp_path / "log.csv", columns, separator=";")
    schema = init(tmp_path / "log.csv", output=tmp_path / "own.yaml")
    assert (schema["interactions"]["time"], schema["interactions"]["separator"]) == (expected, ";")


def test_a_few_wrong_values_mislead_nobody(tmp_path):
    log = {
        "user": [n % 7 for n in range(200)],
        "item": [n % 30 for n in range(200)],
        "rating": ["x", *([3.5] * 199)],
        "time": ["noon", 10**15, *(10**9 + n for n in range(198))],
    }
    table = {"item": [*range(100)], "price": ["free", *(n + 0.5 for n in range(99))]}
    paths = write(tmp_path / "log.csv", log), write(tmp_path / "items.csv", table)
    main(["init", *map(str, paths), "--output", str(tmp_path / "own.yaml")])
    schema = yaml.safe_load((tmp_path / "own.yaml").read_text())
    assert schema["interactions"]["time"] == {"column": "time"}
    assert "# weight: rating" in (tmp_path / "own.yaml").read_text()
    assert schema["items"]["features"] == [{"name": "price", "kind": "number"}]


def test_texts_that_mean_nothing_are_told_from_names(tmp_path):
    log = {
        "user": [n % 7 for n in range(60)],
        "item": [n % 30 for n in range(60)],
        "time": [10**9 + n for n in range(60)],
    }
    table = {
        "item": [*range(30)],
        "title": ["None", *(f"The title of {n}" for n in range(29))],
        "brand": [["x", "y", "N/A"][n % 3] for n in range(30)],
        "price": ["NULL", *(n + 0.5 for n in range(29))],
    }
    paths = write(tmp_path / "log.csv", log), write(tmp_path / "items.csv", table)
    schema = init(*paths, output=tmp_path / "own.yaml")
    assert schema["items"]["missing"] == ["N/A", "NULL"]
    data = load(tmp_path / "own.yaml")
    assert data.catalogue.title[0] == "None"
    assert data.catalogue.features["brand"].to_pylist()[:3] == ["x", "y", None]
    assert data.catalogue.features["price"].to_pylist()[:2] == [None, 0.5]


def test_a_table_is_found_by_ids_that_pandas_wrote_with_a_point(tmp_path):
    log = {
        "user": [n % 7 for n in range(60)],
        "item": [f"{n % 30}.0" for n in range(60)],
        "time": range(10**9, 10**9 + 60),
    }
    table = {"item": [*range(30)], "price": [n + 0.5 for n in range(30)]}
    paths = write(tmp_path / "log.csv", log), write(tmp_path / "items.csv", table)
    assert init(*paths, output=tmp_path / "own.yaml")["items"]["id"] == "item"
    assert load(tmp_path / "own.yaml").catalogue.features["price"].null_count == 0


def test_types_that_the_first_rows_do_not_have_count_too(tmp_path):
    rows = SAMPLE_ROWS + 500
    log = {
        "user": [n // 100 for n in range(rows)],
        "item": [n % 100 for n in range(rows)],
        "time": range(10**9, 10**9 + rows),
        "event": [*(["view"] * (rows - 1)), "buy"],
    }
    write(tmp_path / "log.csv", log)
    init(tmp_path / "log.csv", output=tmp_path / "own.yaml")
    assert public(load(tmp_path / "own.yaml"))[-1][2] == 10**9 + rows - 1


@pytest.mark.parametrize("header", [",user,item,time", "user,user,item,time"])
def test_headers_may_lack_the_name_of_the_index_and_have_one_twice(tmp_path, header, capsys):
    rows = [f"{n},{n % 7},i{n % 30},{10**9 + n}\n" for n in range(60)]
    (tmp_path / "log.csv").write_text(f"{header}\n{''.join(rows)}")
    log = init(tmp_path / "log.csv", output=tmp_path / "own.yaml")["interactions"]
    assert "names" not in log
    assert (log["user"], log["item"]) == ("user", "item")
    assert len(load(tmp_path / "own.yaml")) == 60
    assert ("interactions.user: several columns have this name" in capsys.readouterr().out) == ("user,user" in header)


def test_logs_and_tables_of_examples_are_understood(tmp_path):
    """Of an example every value is a list; those of one at most are plain values."""
    users, items, times = zip(*_EVENTS, strict=True)
    log = {"user_id": [int(user) for user in users], "item_id": items, "time": times}
    for part, rows in (("0", slice(200)), ("1", slice(200, None))):
        write(tmp_path / "log" / f"{part}.tfrecord.gz", {name: list(values[rows]) for name, values in log.items()})
    titles, genres = zip(*_TITLES.values(), strict=True)
    films = {"item_id": list(_TITLES), "title": titles, "genres": [names.split("|") for names in genres]}
    write(tmp_path / "films.tfrecord", films)
    schema = init(tmp_path, output=tmp_path / "films.yaml")
    assert schema["interactions"]["time"] == {"column": "time"}
    assert {f["name"]: f["kind"] for f in schema["items"]["features"]} == {"title": "text", "genres": "multi_category"}
    same(load(tmp_path / "films.yaml"), load(write_movielens_csv(tmp_path / "csv", _EVENTS, _TITLES)))


def test_columns_that_are_no_feature_are_left_out_with_the_reason(tmp_path, capsys):
    odd = {
        "place": pa.array([{"x": n, "y": str(n)} for n in range(60)]),
        "image": pa.array([bytes([255, n]) for n in range(60)], pa.binary()),
        "images": pa.array([[bytes([255, n])] for n in range(60)], pa.list_(pa.binary())),
        "places": pa.array([[{"x": n}] for n in range(60)]),
        "pairs": pa.array([[("a", n)] for n in range(60)], pa.map_(pa.string(), pa.int64())),
        "uuid": pa.array([bytes([n] * 16) for n in range(60)], pa.binary(16)),
    }
    log = {"user": [n % 7 for n in range(60)], "item": [*range(60)], "time": range(10**9, 10**9 + 60)}
    write(tmp_path / "log.parquet", log | {f"event_{name}": values for name, values in odd.items()})
    write(tmp_path / "items.parquet", {"item": range(60), "price": [n + 0.5 for n in range(60)], **odd})
    schema = init(tmp_path / "log.parquet", tmp_path / "items.parquet", output=tmp_path / "own.yaml")
    assert schema["items"]["features"] == [{"name": "price", "kind": "number"}]
    said = capsys.readouterr().out
    for name, reason in {
        "place": "it holds struct<x: int64, y: string>",
        "image": "it holds bytes that are no UTF-8 text",
        "images": "it holds bytes that are no UTF-8 text",
        "places": "it holds list<",
        "pairs": "it holds map<string, int64",
        "uuid": "it holds fixed_size_binary[16]",
    }.items():
        assert f"column {name!r}, left out: {reason}" in said


def test_a_schema_is_not_written_over(tmp_path):
    write_movielens_csv(tmp_path / "films", _EVENTS, _TITLES)
    output = tmp_path / "own.yaml"
    output.write_text("mine")
    with pytest.raises(UserError, match=r"own.yaml exists already; give another --output, or --force"):
        main(["init", str(tmp_path / "films"), "--output", str(output)])
    assert output.read_text() == "mine"
    assert main(["init", str(tmp_path / "films"), "--output", str(output), "--force"]) == 0
    assert "interactions:" in output.read_text()


def test_files_without_a_log_are_refused_with_what_they_hold(tmp_path):
    write(tmp_path / "things.csv", {"name": ["a", "b"], "size": [1, 2]})
    with pytest.raises(UserError, match=r"no file looks like a log of interactions; found things.csv: name, size"):
        main(["init", str(tmp_path / "things.csv"), "--output", str(tmp_path / "own.yaml")])
    with pytest.raises(UserError, match="names no data file"):
        main(["init", str(tmp_path / "nowhere"), "--output", str(tmp_path / "own.yaml")])


@pytest.mark.parametrize("name", ["ml-latest-small", "movietweetings-100k"])
def test_real_data_is_understood(tmp_path, name):
    directory = real_data(name)
    init(directory, output=tmp_path / "own.yaml")
    same(load(tmp_path / "own.yaml"), load(directory))
