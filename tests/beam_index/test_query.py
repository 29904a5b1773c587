import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_index.search_engine.query import QUERY_FILE, SCALES_FILE, Query, template
from protos.codes import CodeSpace
from protos.errors import UserError

SPACE = CodeSpace(num_slots=2, num_codebooks=2, num_codewords=3)
SCALES = {0: 0.5, 4: 0.25, 12: 0.0, 18: 2.0}


@pytest.fixture
def query(tmp_path):
    (tmp_path / QUERY_FILE).write_text(json.dumps(template("codes", "row", SPACE, "abc")))
    (tmp_path / SCALES_FILE).write_text(json.dumps(SCALES))
    return Query.load(tmp_path)


def boosts(body: dict) -> dict[str, float]:
    clauses = [clause["rank_feature"] for clause in body["query"]["bool"]["should"]]
    assert all(clause["linear"] == {} for clause in clauses)
    return {clause["field"]: clause["boost"] for clause in clauses}


def test_a_clause_a_key_with_a_list(query):
    body = query.fill([0, 18, -1, 0, 12, 7, 4], [1.0, 0.5, 0.0, 0.25, 1.0, 1.0, 0.0], seen=["a", "b"], size=9)
    assert boosts(body) == {"codes.0": 0.625, "codes.18": 1.0}
    assert body["size"] == 9
    assert body["query"]["bool"]["must_not"] == [{"ids": {"values": ["a", "b"]}}]
    assert body["query"]["bool"]["minimum_should_match"] == 1
    assert body["sort"] == [{"_score": "desc"}, {"row": "asc"}]


def test_a_filled_query_leaves_the_template_as_it_was(query):
    first = json.dumps(query.fill([0], [1.0], seen=["a"]))
    query.fill([18], [1.0], seen=["b"])
    assert json.dumps(query.fill([0], [1.0], seen=["a"])) == first


def test_no_key_is_a_query_that_matches_nothing(query):
    assert query.fill([-1, 12], [0.0, 1.0])["query"]["bool"]["should"] == [{"match_none": {}}]


def test_numbers_of_numpy_will_do(query):
    body = query.fill(np.array([0, 18]), np.array([1, 0.5], np.float32), size=3)
    assert boosts(json.loads(json.dumps(body))) == {"codes.0": 0.5, "codes.18": 1.0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1], []), "the query has 1 keys and 0 weights; expected one weight a key"),
        (([4], [-0.5]), "the weight of key 4 is -0.5; expected a finite number from 0 up"),
        (([4], [np.nan]), "the weight of key 4 is nan"),
        (([4], [np.inf]), "the weight of key 4 is inf"),
        (([4], [1.0], (), 0), "the size of the answer is 0; expected 1 to 10,000"),
        (([4], [1.0], (), 10_001), "the size of the answer is 10001"),
    ],
)
def test_what_cannot_be_asked_is_refused(query, arguments, message):
    with pytest.raises(UserError, match=message):
        query.fill(*arguments)


def test_more_keys_than_an_engine_takes_are_refused():
    content = template("codes", "row", SPACE, "abc")
    query = Query(content["body"], content["clause"], dict.fromkeys(range(1025), 1.0), SPACE, "abc")
    with pytest.raises(UserError, match="the query has 1025 keys with a list; an engine takes 1024 clauses"):
        query.fill(range(1025), [1.0] * 1025)


def test_an_export_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"query\.json does not exist; expected what python -m .* wrote"):
        Query.load(tmp_path / "nowhere")


@given(
    listed=st.sets(st.integers(0, SPACE.size - 1)),
    token_codes=st.tuples(*[st.integers(0, 2)] * 4),
    seed=st.integers(0, 100),
)
def test_a_code_without_a_list_gives_way_to_the_nearest_of_its_slot(listed, token_codes, seed):
    distances = np.random.default_rng(seed).integers(0, 4, (2, 2, 3)).astype(np.float32)
    content = template("codes", "row", SPACE, "abc")
    query = Query(content["body"], content["clause"], dict.fromkeys([*listed, 20], 1.0), SPACE, "abc")
    keys = [token_codes[0] + 3 * token_codes[1], 9 + token_codes[2] + 3 * token_codes[3], 20, 19, -1]
    found = query.nearest_listed(keys, distances)
    assert found[2:] == [20, 19, -1]
    for slot in range(2):
        candidates = {
            9 * slot + first + 3 * second: distances[slot, 0, first] + distances[slot, 1, second]
            for second, first in itertools.product(range(3), range(3))
            if 9 * slot + first + 3 * second in listed
        }
        if keys[slot] in listed or not candidates:
            assert found[slot] == keys[slot]
        else:
            assert found[slot] == min(candidates, key=lambda key: (candidates[key], key))
