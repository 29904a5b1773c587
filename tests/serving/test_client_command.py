"""`python -m serving.client`: what it prints, what it takes, and what it says when something is wrong."""

import concurrent.futures
import io
import json
import socket
import textwrap

import pytest

from protos.errors import UserError
from serving.client.command import main
from serving.server import EmbeddedServer
from tests.support.contract_model import ContractModel
from tests.support.served_models import write_toy_model


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    base = tmp_path_factory.mktemp("toy")
    write_toy_model(base / "3")
    with EmbeddedServer(base, port=0) as server:
        yield server


@pytest.fixture(scope="module")
def complete(contract_models):
    """A server of all signatures."""
    with EmbeddedServer(contract_models[ContractModel], port=0) as server:
        yield server


def test_the_command_prints_a_table(server, capsys):
    main(["--address", server.address, "--history", "1, 2,3,", "--history", "", "--k", "2", "--timeout", "30"])
    assert capsys.readouterr().out == textwrap.dedent("""\
        history: 1, 2, 3    answered by version 3
        rank  item       score
           1  é-0       1.0000
           2  é-1       0.5000
        codes: 3 -> list 13  4 -> list 14 (its own has none)
        events: list 53

        history: (none)    answered by version 3
        rank  item       score
              no item scores above zero
        codes: 0 -> list 10 (its own has none)  1 -> list 11
    """)


def test_the_command_prints_json(server, capsys):
    main(["--address", server.address, "--history", "1,2", "--k", "1", "--json", "--timeout", "30"])
    assert json.loads(capsys.readouterr().out) == [
        {
            "history": ["1", "2"],
            "item_ids": ["é-0"],
            "scores": [1.0],
            "codes": [[2], [3]],
            "keys": [12, 13, 52],
            "fallback": [True, False, False],
            "model_version": 3,
        }
    ]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--address", "127.0.0.1:1"], "Predict at 127.0.0.1:1: UNAVAILABLE: "),
        (["--k", "0"], "--k 0: expected at least 1"),
    ],
)
def test_the_command_says_what_is_wrong(flags, message):
    with pytest.raises(UserError, match=message):
        main(["--history", "1", *flags])


def ask(capsys, *flags):
    main([*flags, "--timeout", "30"])
    return json.loads(capsys.readouterr().out)


LINES = '{"history": ["0"], "k": 2, "deny_categories": ["odd"]}\n\n{"history": []}\n'


def test_the_command_takes_an_object_a_line(complete, capsys, tmp_path):
    path = tmp_path / "queries.jsonl"
    path.write_text(LINES)
    first, second = ask(capsys, "--address", complete.address, "--json_input", str(path), "--json")
    assert first["k"] == 2
    assert first["deny_categories"] == ["odd"]
    assert first["item_ids"] == ["2", "4"]
    assert second["item_ids"] == ["0", "1", "2", "3"]


def test_the_command_takes_a_list_from_the_standard_input(complete, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps([{"history": [str(row)]} for row in range(40)])))
    answers = ask(capsys, "--address", complete.address, "--json_input", "-", "--k", "1", "--json")
    assert [answer["item_ids"] for answer in answers] == [["1"], *[["0"]] * 39]  # more than one request's worth


def test_the_command_explains(complete, capsys):
    (answer,) = ask(capsys, "--address", complete.address, "--history", "7,9", "--k", "2", "--signature", "explain")
    assert answer["sources"] == ["", "7", "9"]
    assert answer["contributions"] == [[0.5, 0.25, 0.25], [0.25, 0.125, 0.125]]


def test_the_command_encodes(complete, capsys):
    (answer,) = ask(capsys, "--address", complete.address, "--history", "7,9", "--signature", "encode")
    assert answer["tokens"] == [[2.0, 0.0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"history": ["1"]}\n{"history"', "queries.json, line 2: no JSON"),
        ("[1, 2", "queries.json: no JSON"),
        ('[{"history": ["1"]}, 7]', "queries.json, entry 2: found 7, expected an object such as"),
        ('{"history": "1,2"}', 'line 1: found .* expected an object such as {"history"'),
        ('{"history": [], "top": 5}', "line 1: no key 'top' is known; expected some of history, k, exclude_ids"),
        ('{"history": [], "k": "5"}', "'5'.* cannot be sent as int32"),
        ('{"history": [], "k": [5]}', r"query 0, k: found the list \[5\], expected one value"),
        ('{"features": {"mood": "good"}}', "query 0: mood is no input of the signature asked; it takes allow_"),
    ],
)
def test_the_command_says_where_the_input_is_wrong(complete, tmp_path, text, message):
    path = tmp_path / "queries.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        main(["--address", complete.address, "--json_input", str(path)])


def test_a_file_that_is_not_there():
    with pytest.raises(UserError, match=r"--json_input gone\.json: No such file or directory; expected a file of JSON"):
        main(["--json_input", "gone.json"])


def test_it_waits_for_a_server_that_is_not_there_yet(tmp_path, capsys):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    asked = ["--address", f"127.0.0.1:{port}", "--history", "1", "--k", "1", "--wait", "60"]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        answer = pool.submit(main, asked)
        with pytest.raises(concurrent.futures.TimeoutError):
            answer.result(timeout=1)
        write_toy_model(tmp_path / "4")
        with EmbeddedServer(tmp_path, port=port):
            answer.result(timeout=60)
    assert "answered by version 4" in capsys.readouterr().out


def test_an_old_servable_says_what_it_has(server):
    with pytest.raises(
        UserError, match=r"version 3 of sparcode has no signature 'explain'.*it has count, .*serving_def"
    ):
        main(["--address", server.address, "--history", "1", "--signature", "explain", "--timeout", "30"])
