"""Settings of every test process."""

import trainer  # noqa: F401  # first, so that TensorFlow meets Keras 2 and a quiet log whichever test imports it
