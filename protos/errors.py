"""Errors meant for the user, and the one place where a command turns them into an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence


class UserError(Exception):
    """Input that the user can mend; the message names the thing, the place, what was found and the cure."""


def run_cli(main: Callable[[Sequence[str]], int | None]) -> None:
    """Runs a command's `main(argv)` and exits: 0 done, 2 user error (no stack trace), 130 interrupted.

    Set the environment variable SPARCODE_TRACEBACK=1 to see the stack trace of a user error.
    """
    try:
        sys.exit(main(sys.argv[1:]) or 0)
    except UserError as error:
        if os.environ.get("SPARCODE_TRACEBACK") == "1":
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
