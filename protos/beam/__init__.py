"""What the commands that run on Apache Beam share; nothing else of protos needs Beam. Its own notices are held back."""

import logging


def _is_not_beams(record: logging.LogRecord) -> bool:
    return "/apache_beam/" not in record.pathname


# From its import on: what Beam says of packages that are not there, and what a job server says, has no logger's name.
logging.getLogger().addFilter(_is_not_beams)
