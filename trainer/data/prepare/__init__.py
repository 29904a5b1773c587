"""`python -m trainer.data prepare`: a log of any size as sharded records that training streams.

Three stages, each a Beam pipeline of independent tasks that know nothing but names of files:

    scatter   a task a file of the log: reads it in batches, puts every event into the piece of its user's partition
    arrange   a task a partition: sorts it by user and time, drops repeats, splits it, counts its training items
    write     a task a partition: writes its users as records, items as rows of the catalogue

Between arrange and write the counts give the catalogue. What flows between stages are files and numbers of a few
bytes, so that memory is that of a batch of rows or of a partition, however many of them there are.
"""

import protos.beam  # noqa: F401  # quietens Beam before it is imported
