"""Work for another process, which loads little but this."""

import os
import pathlib

from protos.errors import UserError


def report_threads(directory: str, name: str, parent: int) -> None:
    """Writes whether this is another process and how many threads it was given; fails where it is told to."""
    import tensorflow as tf

    threads = (os.environ["OMP_NUM_THREADS"], tf.config.threading.get_intra_op_parallelism_threads())
    pathlib.Path(directory, name).write_text(f"{os.getpid() != parent} {threads}")
    if name == "fails":
        raise UserError("as told")
