"""Public ids outside, rows inside."""

from __future__ import annotations

import pytest
import tensorflow as tf

from protos.errors import UserError
from serving.catalogue import Catalogue


def test_ids_and_rows_are_inverse(tmp_path):
    ids = ["a", " spaced\tid ", "déjà vu", "10", "ID"]
    catalogue = Catalogue(ids, tmp_path / "ids.txt")
    rows = catalogue.rows(tf.constant([[*ids, "", "unknown", "id"]]))
    assert rows.numpy().tolist() == [[0, 1, 2, 3, 4, -1, -1, -1]]
    back = catalogue.ids(tf.constant([4, 1, 2**31 - 1]), tf.constant([True, True, False]))
    assert [item_id.decode() for item_id in back.numpy()] == ["ID", " spaced\tid ", ""]


@pytest.mark.parametrize("bad", ["", "a\nb", "a\r"])
def test_ids_a_text_file_cannot_hold_are_refused(tmp_path, bad):
    with pytest.raises(UserError, match=r"items\.parquet, row 1: item id .* is empty or holds a line break"):
        Catalogue(["a", bad], tmp_path / "ids.txt")


def test_an_id_given_twice_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"rows 0 and 2: the same item id 'a' twice"):
        Catalogue(["a", "b", "a"], tmp_path / "ids.txt")
