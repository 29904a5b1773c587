"""Errors meant for the user, and the one place where a command turns what went wrong into a line and an exit code."""

from __future__ import annotations

import enum
import errno
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence

from protos.quiet import quieten_tensorflow

TRACEBACK = "SPARCODE_TRACEBACK"
# What of the system's errors the user can mend, and how.
_CURES = {
    errno.ENOSPC: "free some space, or choose a place that has more",
    errno.EDQUOT: "free some space, or choose a place that has more",
    errno.EFBIG: "allow larger files (ulimit -f), or choose another place",
    errno.EACCES: "allow it to this user, or choose another place",
    errno.EPERM: "allow it to this user, or choose another place",
    errno.EROFS: "choose a place that can be written",
    errno.EISDIR: "expected a file",
    errno.ENOTDIR: "a part of the path is a file; expected a directory",
    errno.ENOENT: "check the path",
    errno.EEXIST: "remove what is there, or choose another place",
    errno.ENOTEMPTY: "remove what is there, or choose another place",
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.EMFILE: "allow more open files (ulimit -n)",
}
# Of these the system's text alone is enough to know them by, in an error that carries no number (TensorFlow's).
_TOLD_BY_TEXT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS, errno.EISDIR, errno.ENOTDIR)
# What a call of C++ has to come back to Python after SIGTERM.
_PATIENCE_SECONDS = 5.0
# What TensorFlow puts before and after the words of an error, for those who know its graph.
_TENSORFLOWS = re.compile(r"^\{\{.*?\}\} | \[Op:\w+\]")


class UserError(Exception):
    """Input that the user can mend; the message names the thing, the place, what was found and the cure."""


class Exit(enum.IntEnum):
    """What exit codes mean, of every command (docs/operations.md)."""

    DONE = 0
    CHECK_FAILED = 1
    USER_ERROR = 2
    BUG = 70
    START_AGAIN = 75
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    TERMINATED = 143


def run_cli(main: Callable[[Sequence[str]], int | None]) -> None:
    """Runs a command's `main(argv)` and exits with one of Exit, or with what `main` returns.

    An error is a line on standard error. `--traceback`, `--debug` or the environment variable SPARCODE_TRACEBACK=1
    shows its stack trace too.
    """
    _heed_termination()
    quieten_tensorflow()
    try:
        code = main(sys.argv[1:]) or Exit.DONE
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        code = _explain(error)
        _give_up_output()
    sys.exit(int(code))


def wants_traceback(fault: bool = False) -> bool:
    """Whether errors are to be shown with their stack traces; `faults` asks for those of the program's faults alone."""
    return os.environ.get(TRACEBACK) in (("1", "faults") if fault else ("1",))


def _heed_termination() -> None:
    """Makes SIGTERM end this process as an error would, and soon, also where its main thread is in C++ and deaf."""
    if signal.getsignal(signal.SIGTERM) is _terminate:
        return
    signal.signal(signal.SIGTERM, _terminate)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    _keep_signals_apart()
    threading.Thread(target=_lose_patience, args=(reader,), daemon=True).start()


def _keep_signals_apart() -> None:
    """Lets SIGTERM end a forked process, as it does without us: Python loses one that comes while it forks.

    Nor does this process, whose pipe for signals the other one has, take it for its own.
    """

    def hold(how: int) -> None:
        signal.pthread_sigmask(how, [signal.SIGTERM])

    def begin_child() -> None:
        signal.set_wakeup_fd(-1)
        if signal.getsignal(signal.SIGTERM) is _terminate:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        hold(signal.SIG_UNBLOCK)

    os.register_at_fork(
        before=lambda: hold(signal.SIG_BLOCK),
        after_in_parent=lambda: hold(signal.SIG_UNBLOCK),
        after_in_child=begin_child,
    )


def _lose_patience(signals: int) -> None:
    """Ends the process some time after a SIGTERM that `_terminate` has not been called for."""
    while received := os.read(signals, 1):
        if received[0] == signal.SIGTERM:
            time.sleep(_PATIENCE_SECONDS)
            # A command may have a handler of its own by now, as the servers have.
            if signal.getsignal(signal.SIGTERM) is _terminate:
                os._exit(int(Exit.TERMINATED))


def _terminate(number: int, frame: object) -> None:
    """Ends as an error would: what is half made is removed, and processes of ours end too."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the second one is final
    for child in multiprocessing.active_children():
        child.terminate()
    os.write(2, b"terminated\n")  # not by print: it may have interrupted one
    sys.exit(int(Exit.TERMINATED))


def _give_up_output() -> None:
    """Where standard output takes no more, what is left goes nowhere: Python would complain of it at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _explain(error: BaseException) -> Exit:
    """Says what went wrong, and with what to exit."""
    if isinstance(error, BrokenPipeError):
        return Exit.BROKEN_PIPE  # who read the output has gone, as `head` does
    if isinstance(error, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return Exit.INTERRUPTED
    if (message := _to_be_mended(error)) is not None:
        if wants_traceback():
            traceback.print_exception(error)
        print(f"error: {message}", file=sys.stderr)
        return Exit.USER_ERROR
    _report_bug(error)
    return Exit.BUG


def _to_be_mended(error: BaseException) -> str | None:
    """What the user can do about an error; None if it is nothing of the user's."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"not enough memory ({error or 'none to be had'}); free some, or make the work smaller"
    if isinstance(error, OSError) and error.errno in _CURES and error.filename is not None:
        places = " -> ".join(os.fsdecode(place) for place in (error.filename, error.filename2) if place is not None)
        return f"{places}: {error.strerror}; {_CURES[error.errno]}"
    if isinstance(error, OSError) or type(error).__module__.startswith("tensorflow"):
        first = _TENSORFLOWS.sub("", str(error).partition("\n")[0])[:300]
        told = (number for number in _TOLD_BY_TEXT if os.strerror(number) in first)
        if (number := next(told, None)) is not None:
            return f"{first}; {_CURES[number]}"
    return None


def _report_bug(error: BaseException) -> None:
    """One line, and the stack trace in a file."""
    what = f"{type(error).__name__}: {error}".partition("\n")[0][:300]
    line = f"error: {what}\nThis is a fault of the program and not of its input"
    text = "".join(traceback.format_exception(error))
    if wants_traceback(fault=True):
        print(f"{text}{line}; please report it with the lines above", file=sys.stderr)
        return
    try:
        with tempfile.NamedTemporaryFile("w", prefix="sparcode-", suffix=".log", delete=False) as file:
            file.write(f"{sys.argv}\n{text}")
    except OSError:
        print(f"{text}{line}; please report it with the lines above", file=sys.stderr)
    else:
        print(f"{line}; please report it with {file.name}, which has the stack trace", file=sys.stderr)
