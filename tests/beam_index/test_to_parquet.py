import pyarrow.parquet as pq
import pytest

from beam_index.pair import open_pair
from beam_index.to_parquet import main, write
from protos.errors import UserError
from tests.beam_index.oracle import written_lists
from tests.support.exports import PRODUCT, TinySpec, write_tiny_export
from tests.support.indexes import TinyIndexSpec, write_tiny_index

COLUMNS = ["key", "slot", "codes", "row", "item_id", "score", "threshold"]


@pytest.fixture(
    scope="module", params=[TinySpec(), PRODUCT, TinySpec(num_events=0)], ids=["residual", "product", "no events"]
)
def pair(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("pair")
    model = write_tiny_export(directory / "model", request.param)
    index = write_tiny_index(directory / "index", model, TinyIndexSpec(postings_per_code=6, block=False))
    return request.param, open_pair(model, index)


def expected(spec: TinySpec, index) -> list[dict]:
    rows = []
    for each in written_lists(index):
        slot = codes = None
        if each.key < spec.num_keys:
            slot, rest = divmod(each.key, spec.num_codewords**spec.num_codebooks)
            codes = [rest // spec.num_codewords**book % spec.num_codewords for book in range(spec.num_codebooks)]
        for row, score in zip(each.items, each.scores, strict=True):
            values = [each.key, slot, codes, row, f"item-{row}", score, each.threshold]
            rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


@pytest.mark.parametrize("group", [1, 20, 10**6])
def test_the_table_holds_every_posting_in_the_order_of_the_lists(pair, tmp_path, group):
    spec, model_and_index = pair
    output = tmp_path / "postings.parquet"
    wanted = expected(spec, model_and_index.index)
    assert write(model_and_index, output, group) == len(wanted)
    table = pq.read_table(output)
    assert table.column_names == COLUMNS
    assert table.to_pylist() == wanted
    assert [each.name for each in tmp_path.iterdir()] == ["postings.parquet"]


def test_row_groups_are_cut_between_lists(pair, tmp_path):
    write(pair[1], tmp_path / "postings.parquet", 20)
    file = pq.ParquetFile(tmp_path / "postings.parquet")
    assert file.num_row_groups > 2
    last = -1
    for group in range(file.num_row_groups):
        keys = file.read_row_group(group, ["key"])["key"].to_pylist()
        assert len(keys) >= 20 or group == file.num_row_groups - 1
        assert keys[0] > last
        last = keys[-1]


def test_the_command_says_what_it_wrote(pair, tmp_path, capsys):
    output = tmp_path / "postings.parquet"
    main(["--model", str(pair[1].model), "--index", str(pair[1].index), "--output", str(output)])
    rows = len(expected(*[pair[0], pair[1].index]))
    assert capsys.readouterr().out == f"{output}: {rows:,} postings, {output.stat().st_size:,} bytes\n"


def test_a_place_that_cannot_be_written_to_is_named(pair, tmp_path):
    with pytest.raises(UserError, match=r"cannot write .*nowhere/postings\.parquet: No such file"):
        write(pair[1], tmp_path / "nowhere" / "postings.parquet")
