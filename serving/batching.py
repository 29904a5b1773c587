"""The batching of TensorFlow Serving for a servable: `--enable_batching --batching_parameters_file=FILE`.

The server joins requests to a signature that wait at the same time along dimension 0. All inputs of a request must have
as many rows (INVALID_ARGUMENT), and an input that is left out has the one row of its default. Where tensors of a batch
have different widths, all of its requests fail (FAILED_PRECONDITION). So who is batched sends every input, in widths
that all agree on.
"""

from __future__ import annotations

import dataclasses

from protos.errors import UserError


@dataclasses.dataclass(frozen=True)
class Batching:
    """How requests are joined.

    Attributes:
      max_batch_size: rows of a joined batch, at least those of the largest request, which is refused otherwise.
      timeout_micros: how long a request waits for others; a batch that is full goes at once.
      num_batch_threads: batches that are run at the same time: the cores of the server.
      max_enqueued_batches: batches that may wait; a request that finds more is refused as UNAVAILABLE.
    """

    max_batch_size: int = 32
    timeout_micros: int = 1000
    num_batch_threads: int = 2
    max_enqueued_batches: int = 8

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            least = 0 if field.name == "timeout_micros" else 1
            if getattr(self, field.name) < least:
                raise UserError(f"batching: {field.name} is {getattr(self, field.name)}; expected at least {least}")

    def text(self) -> str:
        """The file: a BatchingParameters in protobuf's text format.

        Batches are filled up to one of few sizes, so that each has been warmed up. Inputs are not padded to one
        width: the server would do that with a tensor's own first element, an item that nobody has seen.
        """
        sizes = "".join(f"allowed_batch_sizes: {size}\n" for size in self._allowed_sizes())
        return (
            f"max_batch_size {{ value: {self.max_batch_size} }}\n"
            f"batch_timeout_micros {{ value: {self.timeout_micros} }}\n"
            f"num_batch_threads {{ value: {self.num_batch_threads} }}\n"
            f"max_enqueued_batches {{ value: {self.max_enqueued_batches} }}\n"
            f"{sizes}"
            "pad_variable_length_inputs: false\n"
        )

    def _allowed_sizes(self) -> list[int]:
        """Powers of two below the greatest size, and that."""
        powers = (1 << exponent for exponent in range(self.max_batch_size.bit_length()))
        return [*(size for size in powers if size < self.max_batch_size), self.max_batch_size]
