"""The shell commands of the documentation, and its Python, which tests/serving/test_sharded_client.py runs.

A block of commands begins with ```sh and is run as it stands. One that cannot be run where the tests are
has one more word on that line, which says why: a key of NOT_RUN.
"""

from __future__ import annotations

import pathlib
import re
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[2]
# k8s/README.md is rehearsed by tests/rehearsal and held against the rendered resources by tests/k8s.
PAGES = ("README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
NOT_RUN = {
    "gate": "what .ci/run itself is made of",
    "docker": "needs a Docker engine",
    "hosts": "needs machines, a bucket, a cluster or a search engine of one's own",
    "hours": "measures at full size; tests/benchmarks and tests/pipeline run the command at a small one",
}
_FENCE = re.compile(r"^```(\w*) ?([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """Some lines of commands: page, line where they begin, why they are not run ("" if they are), and themselves."""

    page: str
    line: int
    mark: str
    text: str

    def __str__(self) -> str:
        """Where they are."""
        return f"{self.page}:{self.line}"


def blocks_of(page: str, wanted: str = "sh") -> list[Block]:
    """All of a page in a language, in order."""
    text = (ROOT / page).read_text()
    found = [(text.count("\n", 0, match.start()) + 2, *match.groups()) for match in _FENCE.finditer(text)]
    return [Block(page, line, mark, commands) for line, language, mark, commands in found if language == wanted]
