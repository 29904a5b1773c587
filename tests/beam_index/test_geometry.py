from hypothesis import given
from hypothesis import strategies as st

from beam_index.geometry import (
    CHUNK_CODES,
    SPAN_TILES,
    TILE_ITEMS,
    Span,
    chunk_count,
    chunk_span,
    cut_by_shard,
    shard_of,
    shard_span,
    span_count,
    tile_count,
    tile_span,
    tiles_of,
)

COUNTS = st.integers(1, 60)


@given(count=COUNTS, num_shards=st.integers(1, 80))
def test_shards_take_every_position_once_in_order_and_evenly(count, num_shards):
    shards = [shard_of(position, num_shards, count) for position in range(count)]
    sizes = [shards.count(shard) for shard in range(num_shards)]
    assert shards == sorted(shards)
    assert shards[0] >= 0
    assert shards[-1] < num_shards
    assert max(sizes) - min(sizes) <= 1
    spans = [shard_span(shard, num_shards, count) for shard in range(num_shards)]
    assert [shard for shard, span in enumerate(spans) for _ in range(span.start, span.stop)] == shards
    assert [position for span in spans for position in range(span.start, span.stop)] == list(range(count))


@given(data=st.data(), count=COUNTS, num_shards=st.integers(1, 80))
def test_a_span_cut_by_shard_is_the_span(data, count, num_shards):
    start = data.draw(st.integers(0, count - 1))
    stop = data.draw(st.integers(start + 1, count))
    placed = [
        (position, shard)
        for shard, part in cut_by_shard(Span(start, stop), num_shards, count)
        for position in range(part.start, part.stop)
    ]
    assert placed == [(position, shard_of(position, num_shards, count)) for position in range(start, stop)]


@given(count=st.integers(1, 3 * SPAN_TILES * TILE_ITEMS))
def test_tiles_and_chunks_cover_everything_once(count):
    tiles = [tile_span(tile, count) for tile in range(tile_count(count))]
    chunks = [chunk_span(chunk, count) for chunk in range(chunk_count(count))]
    for spans, width in ((tiles, TILE_ITEMS), (chunks, CHUNK_CODES)):
        assert [span.start for span in spans] == list(range(0, count, width))
        assert [span.stop for span in spans[:-1]] == [span.start for span in spans[1:]]
        assert spans[-1].stop == count
    assert [tile for span in range(span_count(count)) for tile in tiles_of(span, count)] == list(range(len(tiles)))
