"""Walks through all three rooms: the only code that knows more than one of them."""

import trainer  # noqa: F401  # sets Keras 2 before another room's module, sorted before it, imports TensorFlow
