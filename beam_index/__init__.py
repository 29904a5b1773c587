"""Scores codes x items offline with Apache Beam: `run/export` in, `index/` of posting lists out."""

import protos  # noqa: F401  # quietens TensorFlow before it is imported
