"""What the command lines of all rooms have in common."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from protos.errors import TRACEBACK, Exit

_MANY = 20


class CommandParser(argparse.ArgumentParser):
    """A parser of flags that may be spelt with - or _, and that are never cut short.

    Texts of several lines are shown as they stand, others are wrapped. Mistakes are one line and, of a flag that nobody
    knows, the nearest one. `--traceback` and `--debug` are there on every command (protos/errors.py).

    Args:
      prog: as one types it: `python -m room.command`.
      description: what it does, and for what.
      epilog: examples at least.
      named: see argparse.
    """

    def __init__(self, prog: str, description: str, epilog: str, **named: Any) -> None:
        named = {"formatter_class": _HelpFormatter, "allow_abbrev": False, **named}
        super().__init__(prog=prog, description=description, epilog=epilog, **named)
        self._given: list[str] = []
        self.add_argument(
            *("--traceback", "--debug"),
            action=_ShowTraceback,
            nargs=0,
            default=argparse.SUPPRESS,
            dest=argparse.SUPPRESS,
            help="show the stack trace of an error; --debug shows what TensorFlow logs as well",
        )

    def spelt(self, argv: Sequence[str]) -> list[str]:
        """These arguments with the flags of this parser as it spells them."""
        flags = {_normal(flag): flag for flag in self._option_string_actions if flag.startswith("--")}
        found = []
        for argument in argv:
            name, equals, value = argument.partition("=")
            known = name.startswith("--") and name not in self._option_string_actions
            found.append(flags.get(_normal(name), name) + equals + value if known else argument)
        return found

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """See argparse."""
        self._given = args = self.spelt(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        """See argparse."""
        known, others = self.parse_known_args(args, namespace)
        if others:
            self.error(f"nothing takes {others[0]!r}")
        return known

    def format_help(self) -> str:
        """See argparse. Where options are many, the first lines name those that are needed and no others."""
        if len(self._actions) > _MANY and self.usage is None:
            needed = [action for action in self._actions if action.required]
            words = (f"{action.option_strings[0]} {action.metavar or action.dest.upper()}" for action in needed)
            self.usage = " ".join([self.prog, *words, "[options]"])
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        """Ends the process: the mistake in a line, without the usage of all flags."""
        hint = "".join(f"; did you mean {near} by {flag}?" for flag, near in self._misspelt().items())
        self.exit(int(Exit.USER_ERROR), f"error: {message}{hint or ';'} see {self.prog} --help\n")

    def _misspelt(self) -> dict[str, str]:
        """Flags given that are nearly one of this parser's, and which."""
        flags = [word.partition("=")[0] for word in self._given if word.startswith("--")]
        unknown = [flag for flag in flags if flag not in self._option_string_actions]
        near = {flag: difflib.get_close_matches(flag, self._option_string_actions, n=1) for flag in unknown}
        return {flag: found[0] for flag, found in near.items() if found}


class _HelpFormatter(argparse.HelpFormatter):
    """Wraps a text, unless whoever wrote it has broken its lines."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text.strip():
            return "".join(indent + line for line in text.splitlines(keepends=True))
        return super()._fill_text(text, width, indent)


class _ShowTraceback(argparse.Action):
    """Remembers the wish in the environment: whatever processes the command starts have it too."""

    def __call__(self, *_: Any) -> None:
        os.environ[TRACEBACK] = "1"


def _normal(flag: str) -> str:
    return "--" + flag[2:].replace("-", "_")
