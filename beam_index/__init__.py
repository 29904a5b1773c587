"""Scores codes x items offline with Apache Beam: `run/export` in, `index/` of posting lists out."""

import os

# TensorFlow's start-up notes bury what the build says; set the variable to 0 to read them.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
