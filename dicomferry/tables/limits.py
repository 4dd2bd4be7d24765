"""What a table takes of one instance."""

from typing import NamedTuple


class Limits(NamedTuple):
    """What a destination takes of one instance.

    Attributes:
        sequence_depth: levels of nested sequences that are columns, 1 for one at the top.
        sequence_size: bytes of one top-level sequence in the DICOM JSON model; 0: any.
        drops: whether what is beyond a limit is left out; else it is kept as text.
    """

    sequence_depth: int
    sequence_size: int
    drops: bool = True


EMBEDDED = Limits(sequence_depth=24, sequence_size=0, drops=False)
"""Of tables that duckdb or Arrow write: deeper than any known IOD.

duckdb holds more than a hundred levels, but Arrow hands no column over that nests more than 64: a
sequence and its items count as two, names in an item as four.
"""
