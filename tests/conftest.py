"""Settings of every test process."""

from hypothesis import settings

import trainer  # noqa: F401  # first, so that TensorFlow meets Keras 2 and a quiet log whichever test imports it

# No deadline an example: the first one traces TensorFlow graphs. Under CI, Hypothesis's profile for it is the base.
settings.register_profile("sparcode", settings(), deadline=None)
settings.load_profile("sparcode")
