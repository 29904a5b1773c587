"""The words the rooms share: messages on disk and on the wire, manifests, code keys, errors.

Nothing here imports TensorFlow, so that a frontend can depend on it. Every room imports this first.
"""

import os
import sys
import types

# TensorFlow's start-up notes, an "error" on every machine without a GPU among them, bury what a command says;
# set the variable to 0 to read them, or give the command --debug. What fails still raises.
if "--debug" not in sys.argv[1:]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def _tell(kind: type[BaseException], error: BaseException, trace: types.TracebackType | None) -> None:
    """Ctrl-C while a command's modules are still imported, some seconds before errors.run_cli could hear of it."""
    if issubclass(kind, KeyboardInterrupt) and os.environ.get("SPARCODE_TRACEBACK") != "1":
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


if sys.argv[:1] == ["-m"]:  # python -m has yet to find the module: this is a command and nobody's library
    sys.excepthook = _tell
