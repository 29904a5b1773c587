"""The endpoint that is checked: the one of the environment, or an embedded server started here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.endpoint import ALL, Endpoint, Settings, ranked

LEAST_ITEMS = 4


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    given = Settings.from_environment()
    if given is not None:
        yield given
        return
    # Only now: who names an endpoint needs no TensorFlow.
    from serving.server import EmbeddedServer
    from tests.conformance.servable import CATEGORIES, write_servable

    base_path = write_servable(tmp_path_factory.mktemp("conformance"))
    with EmbeddedServer(base_path, port=0) as server:
        yield Settings(server.address, categories=CATEGORIES)


@pytest.fixture(scope="session")
def endpoint(settings: Settings) -> Iterator[Endpoint]:
    endpoint = Endpoint(settings)
    yield endpoint
    endpoint.channel.close()


@pytest.fixture(scope="session")
def items(endpoint: Endpoint) -> list[str]:
    """Ids of the catalogue, best first for who has no history."""
    given = [item for item in endpoint.settings.items.split(",") if item]
    found = given or [item for item, _ in ranked(endpoint.ask("serving_default", [[]]))[0]]
    if len(found) < LEAST_ITEMS:
        pytest.fail(f"the model recommends {found} to who has no history; name {LEAST_ITEMS} known ids in ITEMS")
    return found


@pytest.fixture(scope="session")
def histories(items: list[str]) -> list[list[str]]:
    """32 histories: none, one of unknown ids, the catalogue's best, and parts of it that differ, some with repeats."""
    parts = [[items[(start + step * place) % len(items)] for place in range(step)] for start, step in _PLACES]
    return [[], ["nobody's", "nothing"], items[:LEAST_ITEMS], *parts]


@pytest.fixture(scope="session")
def history(items: list[str]) -> list[str]:
    """One history, not of the best items."""
    return items[1:3]


@pytest.fixture(scope="session")
def everything(endpoint: Endpoint, history: list[str]) -> list[tuple[str, float]]:
    """As much as the model returns to that history, best first."""
    found = ranked(endpoint.ask("recommend", [history], k=[ALL]))[0]
    assert len(found) > 3
    return found


@pytest.fixture(scope="session")
def categories(endpoint: Endpoint) -> list[str]:
    names = [name for name in endpoint.settings.categories.split(",") if name]
    if not names:
        pytest.skip("no categories to choose by; name some of the servable's in CATEGORIES")
    return names


_PLACES = [(start, 1 + start % 7) for start in range(29)]
