"""--help of every command: what it does, an example, and a text for each flag. All of them in one process."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import pathlib
import re

import pytest

import trainer  # noqa: F401  # chooses Keras 2, before other rooms load TensorFlow
from protos.command_line import CommandParser

ROOT = pathlib.Path(__file__).parents[1]
ROOMS = ("trainer", "beam_index", "serving", "pipeline", "benchmarks", "k8s")
COMMANDS = sorted(
    path.relative_to(ROOT).as_posix()
    for room in ROOMS
    for path in (ROOT / room).rglob("*.py")
    if "\n    run_cli(main)\n" in path.read_text()
)


def module_of(path: str):
    if path.startswith("k8s"):
        spec = importlib.util.spec_from_file_location(pathlib.Path(path).stem, ROOT / path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    return importlib.import_module(path.removesuffix(".py").replace("/", "."))


def typed(path: str) -> str:
    """How one starts a command."""
    name = path.removesuffix(".py").removesuffix("/__main__").replace("/", ".")
    return f"python {path}" if path.startswith("k8s") else f"python -m {name}"


def parsers_of(path: str, capsys, monkeypatch, *subcommand: str) -> tuple[CommandParser, str]:
    """The parser whose help a command shows, and what it shows."""
    seen: list[CommandParser] = []
    original = CommandParser.print_help
    monkeypatch.setattr(CommandParser, "print_help", lambda self, file=None: (seen.append(self), original(self, file)))
    with pytest.raises(SystemExit) as ended:
        module_of(path).main([*subcommand, "--help"])
    assert not ended.value.code
    (parser,) = seen
    return parser, capsys.readouterr().out


def check(parser: CommandParser, shown: str, command: str) -> None:
    assert shown.startswith(f"usage: {command}")
    assert len(parser.description.split()) >= 8, f"{command}: what is it for?"
    examples = re.findall(rf"{re.escape(command)}\b(.*)", parser.epilog or "")
    assert examples, f"{command}: no example"
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            continue
        name = "/".join(action.option_strings) or action.metavar or action.dest
        assert action.help, f"{command} {name}: no help"
        # What is left out must be known: a default that is a value is in the help, spelt out or as it is.
        is_plain = isinstance(action.default, bool) or action.default == argparse.SUPPRESS
        if action.default and not is_plain and not action.required:
            assert "default" in action.help, f"{command} {name}: its default {action.default!r} is not shown"
    # Flags of examples exist (those of other commands in the same epilog stand on lines of their own).
    if any(isinstance(action, argparse._SubParsersAction) for action in parser._actions):
        return
    flags = {flag for example in examples for flag in re.findall(r"(?<!\S)--[a-z][\w.-]*", example.partition("#")[0])}
    unknown = {flag for flag in flags if parser.spelt([flag])[0] not in parser._option_string_actions}
    assert not unknown - PASSED_ON, f"{command}: its example has {unknown}"


# Options that a command hands to Beam.
PASSED_ON = {"--runner", "--direct_running_mode", "--direct_num_workers"}


def test_there_are_commands():
    assert {"trainer/task.py", "serving/client/__main__.py", "k8s/images/pull_model.py"} <= set(COMMANDS)


@pytest.mark.parametrize("path", COMMANDS)
def test_help_teaches(path, capsys, monkeypatch):
    parser, shown = parsers_of(path, capsys, monkeypatch)
    check(parser, shown, typed(path))
    (subcommands,) = [a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction)] or [{}]
    for name in subcommands:
        monkeypatch.undo()
        of_subcommand, shown = parsers_of(path, capsys, monkeypatch, name)
        check(of_subcommand, shown, f"{typed(path)} {name}")
