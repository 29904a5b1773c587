"""Learns the codes and the scorer, and exports them: interactions in, `run/export` out.

Importing this package chooses Keras 2 for the process, so import it before TensorFlow.
"""

import protos  # noqa: F401  # quietens TensorFlow before it is imported
from trainer._legacy_keras import require_legacy_keras

require_legacy_keras()
