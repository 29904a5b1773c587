"""Scores codes x items offline with Apache Beam: `run/export` in, `index/` of posting lists out."""
