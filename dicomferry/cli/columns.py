"""Rows of text in columns that fit a terminal. A table of rich takes a millisecond for each row."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from rich.cells import cell_len, chop_cells, set_cell_size

_GAP = "  "
_LEAST = 12


class Layout(NamedTuple):
    """What gives way where a terminal has no room for all columns.

    Attributes:
        shortened: head of the column whose texts lose their middle, down to 12 cells; '' for none.
        optional: heads of the columns that are left out then, the first first.
    """

    shortened: str = ""
    optional: Sequence[str] = ()


def fit(rows: Sequence[Sequence[str]], layout: Layout, width: int | None) -> list[str]:
    """Return rows as lines whose columns begin one below the other.

    Args:
        rows: of equal length; the first has the heads.
        layout: what gives way.
        width: of the terminal, in cells; None: all that the rows take.
    """
    heads = rows[0]
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    left_out: set[int] = set()
    flexible = heads.index(layout.shortened) if layout.shortened else None
    if width is not None:
        for name in (None, *layout.optional):
            left_out |= set() if name is None else {heads.index(name)}
            over = _total(widths, left_out) - width
            if flexible is not None and over > 0:
                spare = max(widths[flexible] - _LEAST, 0)
                if over <= spare:
                    widths[flexible] -= over
                    break
            if over <= 0:
                break
        else:
            if flexible is not None:
                widths[flexible] = min(widths[flexible], _LEAST)
    shown = [number for number in range(len(widths)) if number not in left_out]
    lines = []
    for row in rows:
        cells = [
            _short(row[number], widths[number]) if number == flexible else row[number]
            for number in shown
        ]
        sized = (set_cell_size(cell, widths[n]) for n, cell in zip(shown, cells, strict=True))
        lines.append(_GAP.join(sized).rstrip())
    return lines


def _total(widths: Sequence[int], left_out: Collection[int]) -> int:
    shown = [width for number, width in enumerate(widths) if number not in left_out]
    return sum(shown) + len(_GAP) * (len(shown) - 1)


def _short(text: str, width: int) -> str:
    """Return a text without its middle: places differ at their ends."""
    if cell_len(text) <= width:
        return text
    end = (width - 1) // 2
    start = width - 1 - end
    return f"{chop_cells(text, start)[0]}…{chop_cells(text[::-1], end)[0][::-1]}"
