"""How a data set is encoded (PS3.5 Annex A), compression of its pixels aside."""

from typing import NamedTuple

UNDEFINED_LENGTH = 0xFFFFFFFF


class DataSetEncoding(NamedTuple):
    """The encoding of a data set, or of one item: some items differ from their data set.

    Attributes:
        implicit: elements carry no VR (PS3.5 7.1.3).
        order: of the bytes, as `struct` writes it: "<" little endian, ">" big endian.
    """

    implicit: bool
    order: str

    @property
    def explicit(self) -> bool:
        """Elements carry their VR (PS3.5 7.1.2)."""
        return not self.implicit

    @property
    def little_endian(self) -> bool:
        """The least significant byte comes first (PS3.5 7.3)."""
        return self.order == "<"


IMPLICIT_LITTLE = DataSetEncoding(implicit=True, order="<")
EXPLICIT_LITTLE = DataSetEncoding(implicit=False, order="<")
EXPLICIT_BIG = DataSetEncoding(implicit=False, order=">")
