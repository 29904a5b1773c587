"""What a world consists of: names in its directory, and what its queries ask for."""

from __future__ import annotations

MODEL, ENCODER, INDEX = "export", "encoder", "index"
# Item vectors `[I, D]`; histories `[Q, H]` of rows, right-aligned, -1 is padding; the model's own best items of some.
VECTORS, QUERIES, TRUTH = "vectors.npy", "histories.npy", "truth.npy"
K = 100
