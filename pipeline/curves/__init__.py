"""Accuracy of what is served against the bytes of its index: one export, many indexes, every way of making sums."""
