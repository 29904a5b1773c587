"""Scores codes x items offline with Apache Beam: `run/export` in, `index/` of posting lists out."""

import logging

import protos  # noqa: F401  # quietens TensorFlow before it is imported

# Beam warns so at import on every machine without its Google Cloud extra, which only pipelines there need.
logging.getLogger().addFilter(lambda record: not record.getMessage().startswith("apitools not found"))
