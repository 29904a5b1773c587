"""Answers queries online: `index/` and the query model in, one servable and its server and client out.

Importing this package does not import TensorFlow, so that `serving.client` runs without it.
"""

import protos  # noqa: F401  # quietens TensorFlow before it is imported
