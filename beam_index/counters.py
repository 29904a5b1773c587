"""Names of what the workers count."""

COUNTERS = "beam_index"
CODES_SCORED = "codes_scored"
POSTINGS_WRITTEN = "postings_written"
QUERIES_ENCODED = "queries_encoded"
PAIRS_SCORED = "pairs_scored"
