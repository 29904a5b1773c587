"""Every known format is found and read; every bad input is named."""

from __future__ import annotations

import pathlib
import time

import pyarrow as pa
import pytest

from protos.errors import UserError
from tests.support.data_files import EVENTS, TITLES, real_data, write_dat, write_movielens_csv
from tests.trainer.test_data_interactions import public
from trainer.data import load
from trainer.data.interactions import Interactions, Items

EXPECTED = [("7", "10", 20), ("7", "9", 100), ("7", "2", 100), ("11", "2", 50), ("11", "10", 200)]
CATALOGUE = Items(
    ("2", "9", "10"),
    ("Two", '"Nine" (2009)', "Heat, the (1995)"),
    ((), ("Musical",), ("Action", "Crime")),
    {"year": pa.array([None, 2009, 1995], pa.int32())},
)


def message(path: pathlib.Path | str) -> str:
    with pytest.raises(UserError) as caught:
        load(path)
    return str(caught.value)


def replace(path: pathlib.Path, old: str, new: str) -> None:
    content = path.read_bytes()
    assert old.encode() in content
    path.write_bytes(content.replace(old.encode(), new.encode(), 1))


def pairs(interactions: Interactions) -> list[tuple[str, str]]:
    return [(user, item) for user, item, _ in public(interactions)]


class TestMovieLensCsv:
    def test_is_read(self, tmp_path):
        interactions = load(write_movielens_csv(tmp_path / "films"))
        assert interactions.name == "films"
        assert public(interactions) == EXPECTED
        assert interactions.catalogue == CATALOGUE

    def test_is_read_from_text_and_relative_paths(self, tmp_path, monkeypatch):
        write_movielens_csv(tmp_path / "films")
        monkeypatch.chdir(tmp_path / "films")
        assert load(".").name == "films"

    def test_columns_may_stand_in_any_order_with_others_between(self, tmp_path):
        write_movielens_csv(tmp_path)
        lines = [f"{time},x,{item},1,{user}\n" for user, item, time in EVENTS]
        (tmp_path / "ratings.csv").write_text("timestamp,note,movieId,rating,userId\n" + "".join(lines))
        assert public(load(tmp_path)) == EXPECTED

    def test_a_byte_order_mark_is_no_part_of_the_header(self, tmp_path):
        path = write_movielens_csv(tmp_path) / "ratings.csv"
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        assert public(load(tmp_path)) == EXPECTED

    def test_missing_column(self, tmp_path):
        replace(write_movielens_csv(tmp_path) / "ratings.csv", "movieId", "film")
        text = message(tmp_path)
        assert f"{tmp_path}/ratings.csv has no column 'movieId'" in text
        assert "its first line names 'userId', 'film', 'rating', 'timestamp'" in text

    @pytest.mark.parametrize(
        ("old", "new", "expected"),
        [
            ("11,10,3.5,200", "11,10,3.5,yesterday", "timestamp is 'yesterday', expected a whole number of seconds"),
            ("11,10,3.5,200", "11,10,3.5,", "timestamp is '', expected a whole number of seconds"),
            ("11,10,3.5,200", "11,10,good,200", "rating is 'good', expected a number"),
            ("11,10,3.5,200", ",10,3.5,200", "userId is '', expected an id"),
            ("11,10,3.5,200", "11,10,200", "3 fields, expected 4: userId,movieId,rating,timestamp; found '11,10,200'"),
            ("11,10,3.5,200", "11,10,3.5,200,9", "5 fields, expected 4"),
            ("11,10,3.5,200", "11;10;3.5;200", "1 fields, expected 4"),
            ("11,10,3.5,200", " ", "1 fields, expected 4"),
            ("11,10,3.5,200", '11,"10,3.5,200', "2 fields, expected 4"),
        ],
    )
    def test_bad_row_is_named_by_file_and_line(self, tmp_path, old, new, expected):
        replace(write_movielens_csv(tmp_path) / "ratings.csv", old, new)
        assert f"{tmp_path}/ratings.csv, line 4: {expected}" in message(tmp_path)

    def test_a_quote_left_open_before_much_text(self, tmp_path):
        path = write_movielens_csv(tmp_path) / "ratings.csv"
        path.write_text(path.read_text() + '"8,9,1,1\n' + "8,9,1,1\n" * 20_000)
        assert f"{path}, line 8: " in message(tmp_path)

    def test_lines_are_counted_past_blank_lines(self, tmp_path):
        path = write_movielens_csv(tmp_path) / "ratings.csv"
        replace(path, "7,10,3.5,300\r\n", "7,10,3.5,300\r\n\r\n\r\n")
        replace(path, "11,10,3.5,200", "11,10,3.5,x")
        assert "ratings.csv, line 6: timestamp is 'x'" in message(tmp_path)

    def test_bytes_that_are_no_text(self, tmp_path):
        path = write_movielens_csv(tmp_path) / "movies.csv"
        path.write_bytes(path.read_bytes().replace(b"Two", b"Tw\xf3"))
        text = message(tmp_path)
        assert f"{path}, line 4: byte 0xf3 is not utf-8 text" in text
        assert "save the file as UTF-8" in text

    @pytest.mark.parametrize("name", ["ratings.csv", "movies.csv"])
    def test_empty_file(self, tmp_path, name):
        (write_movielens_csv(tmp_path) / name).write_text("")
        assert message(tmp_path) == f"{tmp_path / name} is empty"

    def test_file_with_a_header_only(self, tmp_path):
        (write_movielens_csv(tmp_path) / "ratings.csv").write_text("userId,movieId,rating,timestamp\n")
        assert f"{tmp_path}/ratings.csv has no rows below its header" in message(tmp_path)


class TestDat:
    def test_is_read(self, tmp_path):
        interactions = load(write_dat(tmp_path / "ml"))
        assert public(interactions) == EXPECTED
        assert interactions.catalogue == CATALOGUE

    def test_latin_1_titles_of_movielens_1m(self, tmp_path):
        titles = TITLES | {"2": ("Cité (1995)", "Crime")}
        write_dat(tmp_path, titles=titles, encoding="latin-1")
        (tmp_path / "users.dat").write_text("1::F::1::10::48067\n")
        assert load(tmp_path).catalogue.title[0] == "Cité (1995)"

    def test_missing_movies_are_missed(self, tmp_path):
        (write_dat(tmp_path) / "movies.dat").unlink()
        assert "found ratings.dat; expected" in message(tmp_path)

    @pytest.mark.parametrize(
        ("new", "expected"),
        [
            ("11::10::4", "3 fields, expected 4: user::item::rating::time; found '11::10::4'"),
            ("11:10:4:200", "1 fields, expected 4"),
            ("11::10::4::200::", "5 fields, expected 4"),
            ("11::10::4::2e2", "time is '2e2', expected a whole number of seconds"),
            ("11::10::four::200", "rating is 'four', expected a number"),
            ("11::::4::200", "item is '', expected an id"),
            (" ", "1 fields, expected 4"),
        ],
    )
    def test_bad_row_is_named_by_file_and_line(self, tmp_path, new, expected):
        replace(write_dat(tmp_path) / "ratings.dat", "11::10::4::200", new)
        assert f"{tmp_path}/ratings.dat, line 3: {expected}" in message(tmp_path)

    def test_bad_movie_is_named_by_file_and_line(self, tmp_path):
        replace(write_dat(tmp_path) / "movies.dat", "9::", "9 ")
        replace(tmp_path / "movies.dat", "::Musical", "")
        text = message(tmp_path)
        assert f"{tmp_path}/movies.dat, line 2: found '9 \"Nine\" (2009)', expected id::title::genre|genre" in text

    def test_empty_file(self, tmp_path):
        (write_dat(tmp_path) / "ratings.dat").write_text("\n\n")
        assert message(tmp_path) == f"{tmp_path}/ratings.dat is empty"


class TestMovieTweetings:
    def write(self, directory: pathlib.Path, movies: str = "", encoding: str = "utf-8") -> pathlib.Path:
        (directory / "users.dat").write_text("1::18405182\n")
        (directory / "ratings.dat").write_text("1::0104257::7::1365029107\n1::104257::0::1365029100\n")
        (directory / "movies.dat").write_text(movies or "0104257::A Few Good Men (1992)::Drama\n", encoding=encoding)
        return directory

    def test_leading_zeros_are_part_of_an_id(self, tmp_path):
        interactions = load(self.write(tmp_path))
        assert interactions.catalogue.item_id == ("104257", "0104257")
        assert interactions.catalogue.title == ("104257", "A Few Good Men (1992)")

    @pytest.mark.parametrize(
        ("line", "title", "genres"),
        [
            ("104257::Crank (2006)::", "Crank (2006)", ()),
            ("104257::Crank (2006)", "Crank (2006)", ()),
            ("104257::Crank :: High Voltage (2009)::Action|Crime", "Crank :: High Voltage (2009)", ("Action", "Crime")),
            ("104257::Fantômas\u2028À l'ombre (1913)::Crime", "Fantômas\u2028À l'ombre (1913)", ("Crime",)),
            ("104257::::Action", "104257", ("Action",)),
        ],
    )
    def test_odd_rows_of_movies(self, tmp_path, line, title, genres):
        catalogue = load(self.write(tmp_path, movies=f"{line}\n")).catalogue
        assert (catalogue.title[0], catalogue.genres[0]) == (title, genres)

    def test_titles_are_utf_8_only(self, tmp_path):
        self.write(tmp_path, movies="104257::Cité (2000)::Drama\n", encoding="latin-1")
        assert f"{tmp_path}/movies.dat, line 1: byte 0xe9 is not utf-8 text" in message(tmp_path)


class TestSequences:
    def test_pairs_are_ordered_by_line(self, tmp_path):
        path = tmp_path / "Beauty.txt"
        path.write_text("2 30\n2 4\n1 30\n\n2\t30\n1 5\n")
        interactions = load(path)
        assert interactions.name == "Beauty"
        assert pairs(interactions) == [("1", "30"), ("1", "5"), ("2", "30"), ("2", "4")]
        assert interactions.catalogue.title == ("4", "5", "30")

    def test_pairs_in_a_directory(self, tmp_path):
        (tmp_path / "interactions.txt").write_text("u a\nu b\n")
        assert pairs(load(tmp_path)) == [("u", "a"), ("u", "b")]

    def test_pair_with_another_number_of_fields(self, tmp_path):
        path = tmp_path / "pairs.txt"
        path.write_text("1 2\n1 3 4\n")
        assert message(path) == f"{path}, line 2: 3 fields, expected 'user item'; found '1 3 4'"

    def test_lists_with_a_fixed_split(self, tmp_path):
        (tmp_path / "train.txt").write_text("0 5 3\n1 3\n2\n")
        (tmp_path / "test.txt").write_text("0 4 5 \n3 4\n")
        interactions = load(tmp_path)
        assert pairs(interactions) == [("0", "5"), ("0", "3"), ("0", "4"), ("1", "3"), ("3", "4")]
        assert interactions.held_out.tolist() == [False, False, True, False, True]

    @pytest.mark.parametrize("content", ["", " \n"])
    def test_empty_list_file(self, tmp_path, content):
        (tmp_path / "train.txt").write_text("0 1\n")
        (tmp_path / "test.txt").write_text(content)
        assert message(tmp_path) == f"{tmp_path}/test.txt is empty"

    def test_lists_without_items(self, tmp_path):
        for name in ("train.txt", "test.txt"):
            (tmp_path / name).write_text("0\n")
        assert "train.txt and test.txt name no items" in message(tmp_path)


class TestLoad:
    def test_path_that_does_not_exist(self, tmp_path):
        text = message(tmp_path / "nowhere")
        assert f"data {tmp_path / 'nowhere'} does not exist; expected a directory with ratings.csv + movies.csv" in text

    def test_empty_directory(self, tmp_path):
        assert f"data directory {tmp_path} holds no known format: found nothing; expected" in message(tmp_path)

    def test_directory_of_unknown_files(self, tmp_path):
        (tmp_path / "photos.zip").touch()
        text = message(tmp_path)
        assert "found photos.zip" in text
        for known in ("ratings.csv + movies.csv", "ratings.dat + movies.dat", "train.txt + test.txt", "'synthetic'"):
            assert known in text

    def test_file_of_unknown_format(self, tmp_path):
        (tmp_path / "films.xls").touch()
        assert f"data file {tmp_path / 'films.xls'} is of no known format" in message(tmp_path / "films.xls")

    def test_synthetic_with_parameters(self):
        interactions = load("synthetic:users=30,items=50,interactions=300,interests=3,seed=4")
        assert interactions.name == "synthetic"
        assert len(interactions.user_ids) == 30

    @pytest.mark.parametrize("parameter", ["user=3", "users", "users=-3", "users=many", ""])
    def test_synthetic_parameter_that_is_not_understood(self, parameter):
        text = message(f"synthetic:{parameter}")
        assert f"synthetic data: {parameter!r} is not understood" in text
        assert "users, items, interactions, interests, seed" in text

    def test_synthetic_parameter_out_of_range(self):
        assert message("synthetic:users=0") == "synthetic data: users is 0, expected at least 1"
        assert "3 interests of 2 items" in message("synthetic:items=2,interests=3")


class TestRealData:
    def test_ml_latest_small(self):
        interactions = load(real_data("ml-latest-small"))
        assert (len(interactions.user_ids), len(interactions.catalogue), len(interactions)) == (610, 9724, 100836)
        first = interactions.catalogue.item_id.index("1")
        assert interactions.catalogue.title[first] == "Toy Story (1995)"
        assert interactions.catalogue.genres[first] == ("Adventure", "Animation", "Children", "Comedy", "Fantasy")
        assert interactions.times.min() == 828124615

    def test_movietweetings_100k(self):
        interactions = load(real_data("movietweetings-100k"))
        assert (len(interactions.user_ids), len(interactions.catalogue), len(interactions)) == (16554, 10506, 100000)
        first = interactions.catalogue.item_id.index("0002844")
        assert interactions.catalogue.title[first] == "Fantômas - À l'ombre de la guillotine (1913)"
        assert not set(interactions.catalogue.title) & set(interactions.catalogue.item_id)


def test_a_million_ratings_load_in_seconds(tmp_path):
    """MovieLens 1M in size; it takes 1 to 2 seconds of one core, and the bound leaves room for a busy machine."""
    rows = (f"{n % 6040}::{n * 7919 % 3706}::{n % 5 + 1}::{956_703_932 + n}\n" for n in range(1_000_209))
    (tmp_path / "ratings.dat").write_text("".join(rows))
    (tmp_path / "movies.dat").write_text("".join(f"{n}::Film {n}::Drama\n" for n in range(3706)))
    start = time.process_time()
    interactions = load(tmp_path)
    assert time.process_time() - start < 15
    assert len(interactions.catalogue) == 3706
