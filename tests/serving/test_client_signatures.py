"""Both clients against a real server of all signatures: filters, features, explanations, encodings."""

import asyncio
import shutil
import time

import grpc
import hypothesis
import hypothesis.strategies as st
import pytest

from serving.client import AsyncRecommendClient, Encoding, PredictError, Query, QueryError, RecommendClient
from serving.server import EmbeddedServer, ServerOptions
from tests.support.contract_model import DEFAULT_K, NUM_ITEMS, ContractModel, FeatureModel
from tests.support.served_models import write_toy_model


class Blocking:
    """The asyncio client, its methods waited for."""

    def __init__(self, *arguments, **options):
        self._runner = asyncio.Runner()

        async def make():
            return AsyncRecommendClient(*arguments, **options)

        self._client = self._runner.run(make())

    def __getattr__(self, name):
        method = getattr(self._client, name)
        return lambda *arguments, **options: self._runner.run(method(*arguments, **options))

    def close(self):
        self._runner.run(self._client.close())
        self._runner.close()


CLIENTS = {"sync": RecommendClient, "asyncio": Blocking}


@pytest.fixture(scope="module")
def servers(contract_models):
    with (
        EmbeddedServer(contract_models[ContractModel], port=0) as plain,
        EmbeddedServer(contract_models[FeatureModel], port=0) as featured,
    ):
        yield {ContractModel: plain, FeatureModel: featured}


@pytest.fixture(scope="module", params=CLIENTS)
def client(request, servers):
    client = CLIENTS[request.param](servers[ContractModel].address, timeout=30)
    yield client
    client.close()


@pytest.fixture(scope="module", params=CLIENTS)
def featured(request, servers):
    client = CLIENTS[request.param](servers[FeatureModel].address, timeout=30)
    yield client
    client.close()


def expected(query):
    """Ids of the best items, by the model's description."""
    k = DEFAULT_K if query.k is None else query.k
    barred = {*query.exclude_ids, *([] if query.include_seen else query.history)}
    kept = []
    for item in range(NUM_ITEMS):
        category = "odd" if item % 2 else "even"
        allowed = not query.allow_categories or category in query.allow_categories
        if allowed and category not in query.deny_categories and str(item) not in barred:
            kept.append(str(item))
    return tuple(kept[: max(k, 0)])


items = st.lists(st.integers(0, NUM_ITEMS).map(str), max_size=12)
categories = st.lists(st.sampled_from(["even", "odd", "none"]), max_size=2)
queries = st.builds(
    Query, items, st.none() | st.integers(-1, 30), items, categories, categories, st.none() | st.booleans()
)


@hypothesis.given(st.lists(queries, min_size=1, max_size=4))
@hypothesis.settings(max_examples=30)
def test_every_option_reaches_the_model(servers, asked):
    with RecommendClient(servers[ContractModel].address, timeout=30) as client:
        assert [answer.item_ids for answer in client.recommend(asked)] == [expected(query) for query in asked]


def test_histories_and_queries_in_one_request(client):
    answers = client.recommend([["0", "3"], Query(["1"], k=2, deny_categories=["odd"])])
    assert [answer.item_ids for answer in answers] == [("1", "2", "4", "5"), ("0", "2")]
    assert {answer.model_version for answer in answers} == {1}


def test_an_explanation_adds_up(client):
    plain, explained = (ask([Query(["0", "3"], k=3)])[0] for ask in (client.recommend, client.explain))
    assert explained.sources == ("", "0", "3")
    assert (explained.item_ids, explained.scores) == (plain.item_ids, plain.scores)
    assert [sum(parts) for parts in explained.contributions] == pytest.approx(explained.scores)


def test_an_encoding_is_what_the_query_becomes(client):
    assert client.encode([["7", "8", "9"]]) == [
        Encoding(codes=((3,),), tokens=((3.0, 0.0),), keys=(3, 3, 3), fallback=(False, False, False), model_version=1)
    ]


def test_features_are_sent_and_missing_ones_too(featured):
    tv = Query(["1", "2"], features={"device": "tv", "ratings": [4, None]})
    one, other = featured.encode([tv, ["1"]])
    assert (one.codes, one.tokens) == (((1002,),), ((2.0, 4.0),))
    assert (other.codes, other.tokens) == (((1,),), ((1.0, 0.0),))
    assert featured.recommend([tv])[0].codes == ((1002,),)


def test_a_model_with_features_answers_histories_alone(featured):
    assert [answer.item_ids for answer in featured.recommend([["0"], []])] == [
        expected(Query(["0"])),
        expected(Query()),
    ]


def test_what_the_model_does_not_take_is_named(client, featured):
    with pytest.raises(QueryError, match="query 0: device is no input"):
        client.recommend([Query(features={"device": "tv"})])
    with pytest.raises(PredictError, match="has no signature 'explain', which the query needs; it has encode, rec"):
        featured.explain([["1"]])
    with pytest.raises(PredictError, match="INVALID_ARGUMENT"):
        featured.recommend([Query(["1"], features={"ratings": list(range(70))})])  # more than there are events


def test_a_version_with_other_inputs_is_noticed(tmp_path, contract_models):
    """The client remembers what a signature takes; a swap costs it a question, not a failed request."""
    write_toy_model(tmp_path / "toy")
    base = tmp_path / "base"
    shutil.copytree(contract_models[ContractModel], base)
    with (
        EmbeddedServer(base, port=0, options=ServerOptions(poll_seconds=0.2)) as server,
        RecommendClient(server.address, timeout=30) as client,
    ):
        assert client.recommend([Query(["0"], k=1)])[0].model_version == 1
        shutil.copytree(contract_models[FeatureModel] / "1", tmp_path / "2")
        _publish(client, tmp_path / "2", base / "2")
        answer = client.recommend([Query(["0"], k=1)])[0]
        assert (answer.item_ids, answer.model_version) == (("1",), 2)
        _publish(client, tmp_path / "toy", base / "3")
        with pytest.raises(PredictError, match='key "recommend" not found') as caught:
            client.recommend([Query(["0"], k=1)])
        assert caught.value.code == grpc.StatusCode.FAILED_PRECONDITION
        assert client.recommend([["0"]])[0].model_version == 3


def _publish(client, built, path):
    built.rename(path)
    while client.wait_until_ready() != int(path.name):
        time.sleep(0.1)
