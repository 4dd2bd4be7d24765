"""Progress: from the listing to the end."""

import io

import pytest
from rich.console import Console

from dicomferry.operations.folder import start_operation
from dicomferry.operations.outcomes import Outcome, OutcomeCounts, ProgressCounts, Total
from dicomferry.operations.record import Method
from dicomferry.operations.recorded import recorded
from dicomferry.public import progress
from dicomferry.transforms.records import FileOutcome, to_line
from tests.pipelines.jobs import STORE


@pytest.fixture
def shown(monkeypatch):
    """What a bar in a terminal of 80 columns shows after each step."""
    clock = iter(range(100))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))

    def show(*steps):
        console = Console(file=io.StringIO(), width=80)
        bar = progress._TerminalBar("import", "file", console)
        lines = []
        for step in steps:
            bar(*step)
            with console.capture() as capture:
                console.print(bar)
            lines.append(capture.get().strip())
        return lines

    return show


def test_a_bar_tells_of_the_listing_then_of_rate_and_time_left_then_of_the_end(shown):
    listing, begun, half, done = shown(
        (ProgressCounts(), Total(443, is_final=False)),
        (ProgressCounts(), Total(4430)),
        (ProgressCounts(read=2000, failed=2), Total(4430)),
        (ProgressCounts(read=4430, failed=2), Total(4430)),
    )
    assert listing.endswith("import: listing … 443 found")
    assert begun.endswith("0 of 4,430 files")
    assert "2,000 of 4,430 files, " in half
    assert half.endswith(" left, 2 failed")
    assert "4,430 of 4,430 files, " in done
    assert ", in 0:00:" in done


def test_the_last_that_a_job_shows_is_all_of_it(root):
    calls = []
    folder = start_operation(root, STORE, Method.IMPORT)
    with recorded(folder, lambda counts, total: calls.append((counts.read, total))) as job:
        lines = [to_line(FileOutcome(f"/in/{n}", Outcome.IMPORTED)) for n in range(3)]
        folder.write_outcomes("00000", "".join(f"{line}\n" for line in lines).encode())
        folder.write_counts("00000", OutcomeCounts(imported=3))
        job.expect(3)
        job.finish("files")
    assert calls[-1] == (3, Total(3))
