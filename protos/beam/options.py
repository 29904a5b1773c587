"""What the commands that run on Apache Beam share: its options, passed through and checked, and its workers' errors."""

from __future__ import annotations

import contextlib
import difflib
import logging
import re
import sys
from collections.abc import Iterator, Sequence

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from protos.errors import UserError

# Not DirectRunner, which looks for Prism first: a binary that it would download.
DEFAULT_RUNNER = "FnApiRunner"
# What Beam says when a worker's connection ends in mid-work.
_WORKER_GONE = "Channel closed prematurely"


def beam_options(flags: Sequence[str], own: Sequence[str], command: str) -> PipelineOptions:
    """Beam's options from what a command line leaves to it.

    Args:
      flags: that the command itself does not know.
      own: names of the command's own options, for hints.
      command: what to call it in an error, such as "the build".

    Raises:
      UserError: Beam does not know an option either.
    """
    given = PipelineOptions(list(flags)).view_as(StandardOptions).runner
    if given not in (None, DEFAULT_RUNNER):
        return PipelineOptions(list(flags))  # other runners know options that this Beam does not
    _require_known(flags, own, command)
    return PipelineOptions([*flags, f"--runner={DEFAULT_RUNNER}", *_direct_flags(flags)])


def _require_known(flags: Sequence[str], own: Sequence[str], command: str) -> None:
    """Beam ignores what it does not know: a misspelt option would quietly do something else."""
    known = set(PipelineOptions([]).get_all_options())
    found = set(PipelineOptions(list(flags)).get_all_options(retain_unknown_options=True))
    loose = [flag for flag in flags[:1] if not flag.startswith("-")]
    for name in [*loose, *sorted(found - known)]:
        near = difflib.get_close_matches(name, [*own, *known], n=1)
        hint = f"; did you mean --{near[0]}?" if near else "; see --help"
        raise UserError(f"unknown option {name!r}: neither {command} nor Apache Beam has it{hint}")


def _direct_flags(flags: Sequence[str]) -> list[str]:
    """One worker in this process unless said otherwise; TensorFlow itself uses all cores.

    Several workers of FnApiRunner are no default: on a busy machine, Beam 2.77 was seen to lose an
    element between two stages in one run of six. What lost one fails: every command counts what it wrote.
    """
    if "--direct_running_mode=multi_processing" in flags and " " in sys.executable:
        raise UserError(
            f"--direct_running_mode=multi_processing cannot start its workers: Beam does not quote {sys.executable!r},"
            " which has a space; install to a path without one, or use --direct_running_mode=in_memory"
        )
    given = {flag.partition("=")[0] for flag in flags}
    if given & {"--direct_running_mode", "--direct_num_workers"}:
        return []
    return ["--direct_running_mode=in_memory", "--direct_num_workers=1"]


@contextlib.contextmanager
def user_errors(what: str) -> Iterator[None]:
    """Turns a worker's UserError, which reaches the runner as a stack trace, into a UserError again.

    Args:
      what: is not written when a worker is gone, such as "index".
    """
    try:
        yield
    except Exception as error:
        message = str(error) if isinstance(error, UserError) else _last_user_error(str(error))
        if message is None and _WORKER_GONE in str(error):
            message = f"a worker process is gone (killed, or out of memory?); no {what} was written: build again"
        if message is None:
            raise
        raise UserError(re.sub(r" \[while running '.*'\]\s*$", "", message)) from error


def _last_user_error(stack_trace: str) -> str | None:
    found = re.findall(rf"^{UserError.__module__}\.{UserError.__qualname__}: (.*)$", stack_trace, re.MULTILINE)
    return found[-1] if found else None


def quiet_beam() -> None:
    """Silences what Beam logs of a failing worker, which is in the error too."""
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
