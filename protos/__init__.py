"""The words the rooms share: messages on disk and on the wire, manifests, code keys, errors.

Nothing here imports TensorFlow, so that a frontend can depend on it. Every room imports this first.
"""

import os
import sys

# TensorFlow's start-up notes, an "error" on every machine without a GPU among them, bury what a command says;
# set the variable to 0 to read them, or give the command --debug. What fails still raises.
if "--debug" not in sys.argv[1:]:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
