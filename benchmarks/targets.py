"""Targets of benchmarks: print for each whether it was reached, and the measured figure."""

import operator
from typing import NamedTuple

from rich.console import Console
from rich.table import Table


class Target(NamedTuple):
    """A bound on one figure.

    Attributes:
        name: of the figure.
        measured: the figure, None where there was nothing to measure it against.
        bound: to reach.
        unit: of both.
        at_most: whether less is better.
    """

    name: str
    measured: float | None
    bound: float
    unit: str
    at_most: bool = False

    @property
    def verdict(self) -> str:
        """`pass`, `SHORT`, or `MISSING` if it could not be measured."""
        if self.measured is None:
            return "MISSING"
        reached = operator.le if self.at_most else operator.ge
        return "pass" if reached(self.measured, self.bound) else "SHORT"


def print_targets(console: Console, targets: list[Target]) -> None:
    """Print the targets, and the number of those reached."""
    table = Table("target", "measured", "to reach", "", title="Targets", title_justify="left")
    for target in targets:
        measured = "-" if target.measured is None else f"{target.measured:,.2f} {target.unit}"
        bound = f"{'at most' if target.at_most else 'at least'} {target.bound:,.2f} {target.unit}"
        table.add_row(target.name, measured, bound, target.verdict)
    console.print(table)
    verdicts = [target.verdict for target in targets]
    console.print(
        f"{verdicts.count('pass')} of {len(targets)} reached, {verdicts.count('SHORT')} short, "
        f"{verdicts.count('MISSING')} missing"
    )
