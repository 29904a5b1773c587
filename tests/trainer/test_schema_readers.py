"""Files that are hard to read give all of their rows."""

from __future__ import annotations

import pathlib

import pytest

from tests.support.own_data import write_schema
from tests.trainer.test_data_interactions import public
from trainer.data import load
from trainer.data.schema.sniff import sniff

NAMED = {"user": "user", "item": "item", "time": "time"}


def loaded(path: pathlib.Path, name: str, content: str, **more):
    """The interactions of a log of this text."""
    (path / name).write_text(content)
    return load(write_schema(path / "own.yaml", {"interactions": {"files": name, **NAMED, **more}}))


QUOTED = 'user	item	time\nu	"12 inch	1\nu	b	2\nu	c"	3\n'


def test_a_quote_that_begins_a_field_of_tsv_is_part_of_it(tmp_path):
    assert [item for _, item, _ in public(loaded(tmp_path, "log.tsv", QUOTED))] == ['"12 inch', "b", 'c"']
    data = loaded(tmp_path, "log.csv", QUOTED, separator="\t")
    assert [item for _, item, _ in public(data)] == ['"12 inch', "b", 'c"']
    (sniffed,) = sniff([str(tmp_path / "log.tsv")])
    assert sniffed.columns["item"].to_pylist() == ['"12 inch', "b", 'c"']


@pytest.mark.parametrize(
    ("name", "quote", "cell", "item"),
    [
        ("log.csv", "", '"a,b"', "a,b"),
        ("log.csv", "'", "'a,b'", "a,b"),
        ("log.csv", "none", '"ab', '"ab'),
        ("log.tsv", '"', '"a\nb"', "a\nb"),
        ("log.tsv", "none", "'ab", "'ab"),
    ],
)
def test_quotes_are_those_of_the_schema(tmp_path, name, quote, cell, item):
    separator = "\t" if name.endswith("tsv") else ","
    rows = [["user", "item", "time"], ["u", cell, "1"], ["u", "z", "2"]]
    content = "".join(separator.join(row) + "\n" for row in rows)
    assert public(loaded(tmp_path, name, content, quote=quote)) == [("u", item, 1), ("u", "z", 2)]
