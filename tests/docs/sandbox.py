"""A checkout to run commands in: the repository's files, and small data where the documentation says `path/to/...`."""

from __future__ import annotations

import pathlib

from tests.docs.blocks import ROOT
from tests.support.data_files import Event, write_dat, write_movielens_csv
from tests.support.own_data import write
from trainer.data.interactions import Interactions
from trainer.data.synthetic import SyntheticSpec, generate

_LINKED = (".venv", "Makefile", "requirements", "trainer", "beam_index", "serving", "pipeline", "protos", "benchmarks")
_SPEC = SyntheticSpec(users=90, items=120, interactions=2_400, interests=6)


def make_checkout(directory: pathlib.Path) -> pathlib.Path:
    """Fills a directory; the repository's parts are links, so that nothing is written into them but caches."""
    for name in (*_LINKED, "tests", "k8s"):
        (directory / name).symlink_to(ROOT / name)
    (directory / "build").mkdir()
    data = generate(_SPEC)
    events, titles = _events(data), _titles(data)
    write_movielens_csv(directory / "path/to/ml-latest-small", events, titles)
    write_dat(directory / "path/to/movietweetings-100k", events, titles)
    _write_shop(directory / "path/to/files", events, titles)
    return directory


def _write_shop(directory: pathlib.Path, events: list[Event], titles: dict[str, tuple[str, str]]) -> None:
    """The files that the schema in docs/data.md speaks of."""
    users, items, times = (list(values) for values in zip(*events, strict=True))
    log = {"customer_id": users, "product_id": items, "at": [1000 * time for time in times]}
    for part in range(2):
        write(directory / "events" / f"part-{part}.parquet", {name: values[part::2] for name, values in log.items()})
    names, genres = (list(values) for values in zip(*titles.values(), strict=True))
    prices = [round(3 + 0.1 * number, 2) for number in range(len(names))]
    write(directory / "products.csv", {"product_id": list(titles), "name": names, "tags": genres, "price": prices})
    customers = sorted(set(users))
    countries = ["DE", "FR", "PL"]
    write(
        directory / "customers.csv",
        {"customer_id": customers, "country": [countries[number % 3] for number in range(len(customers))]},
    )


def _events(data: Interactions) -> list[Event]:
    ids = data.catalogue.item_id
    return [
        (data.user_ids[user].rpartition("-")[2], ids[item], int(time))
        for user, item, time in zip(data.users, data.items, data.times, strict=True)
    ]


def _titles(data: Interactions) -> dict[str, tuple[str, str]]:
    catalogue = data.catalogue
    return {
        item: (title, "|".join(genres))
        for item, title, genres in zip(catalogue.item_id, catalogue.title, catalogue.genres, strict=True)
    }
