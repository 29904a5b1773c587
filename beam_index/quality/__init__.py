"""The quality of an index: measured by real queries against exact scoring, reported, and made a condition."""

from beam_index.quality.check import CheckOptions, check, measure, require_fidelity
from beam_index.quality.report import write_report
from beam_index.quality.sample import require_queries
from beam_index.quality.summary import Quality

__all__ = ["CheckOptions", "Quality", "check", "measure", "require_fidelity", "require_queries", "write_report"]
