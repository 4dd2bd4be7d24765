"""A listing of files that are all known: lookup, outcomes, and how much memory they take.

python -m benchmarks.bench_known FOLDER [--sources N ...]

A new store in FOLDER remembers N sources, in files as an import of that many leaves them. Then they
are listed again: the steps are those of an import, one after the other, in one process; what
crosses a shuffle is encoded and decoded as Beam does it.
"""

import argparse
import gc
import resource
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from apache_beam.coders import FastPrimitivesCoder

from benchmarks.machine import describe_machine
from dicomferry.operations.folder import start_operation
from dicomferry.operations.record import Method
from dicomferry.resource_names import parse_store
from dicomferry.sources.source import Source
from dicomferry.storage.registry import open_storage
from dicomferry.store.dicom_store import create_store
from dicomferry.store.sources_table import commit_sources, write_sources
from dicomferry.transforms.list_sources import LISTING_FILES
from dicomferry.transforms.outcome_bounds import bounds_of
from dicomferry.transforms.skip_known import SkipKnown, _SkipFn
from dicomferry.transforms.write_outcomes import (
    SHARD_OUTCOMES,
    WriteOutcomes,
    _key_by_shard,
    _WriteFn,
)


def make_sources(numbers: range) -> list[Source]:
    """Return listing entries by their numbers."""
    return [
        Source(f"gs://archive/2026/{n // 200:08d}/{n:010d}.dcm", 525_000, f"17101476{n:08d}")
        for n in numbers
    ]


def ranges(count: int, size: int) -> Iterator[range]:
    """Yield the numbers below a count, some at a time."""
    yield from (range(start, min(start + size, count)) for start in range(0, count, size))


class Clock:
    """CPU time of steps, in seconds."""

    def __init__(self) -> None:
        self.steps: dict[str, float] = {}
        self._last = time.process_time()

    def tick(self, step: str = "") -> None:
        """Count the time since the last tick."""
        now = time.process_time()
        if step:
            self.steps[step] = self.steps.get(step, 0.0) + now - self._last
        self._last = now


def measure(folder: Path, count: int) -> str:
    """Remember and look up sources; return the cost of each step."""
    root = open_storage(str(folder))
    store = create_store(root, parse_store(f"known-{secrets.token_hex(4)}"))
    operation = start_operation(root, store.name, Method.IMPORT)
    clock = Clock()
    written = []
    for numbers in ranges(count, SHARD_OUTCOMES):
        rows = [(s.uri, s.size, s.version, "imported") for s in make_sources(numbers)]
        clock.tick()
        written.append(write_sources(store.data, rows))
        clock.tick("write")
    commit_sources(store.data, written)
    clock.tick("write")
    gc.collect()
    skip, write, coder = (
        _SkipFn(SkipKnown(store.data)),
        _WriteFn(WriteOutcomes(operation, "00000", remember=store.data)),
        FastPrimitivesCoder(),
    )
    bounds = bounds_of((make_sources(r[:1])[0].uri, len(r)) for r in ranges(count, LISTING_FILES))
    shuffled: list[bytes] = []
    keyed: list[tuple[int, bytes]] = []
    total = 0
    for numbers in ranges(count, LISTING_FILES):
        listing = make_sources(numbers)
        clock.tick()
        [outcomes] = [each.value for each in skip.process(listing)]
        clock.tick("look up")
        keyed += [(key, coder.encode(each)) for key, each in _key_by_shard(outcomes, bounds)]
        clock.tick("outcomes")
        while len({key for key, _ in keyed}) > 1 or (numbers.stop == count and keyed):
            first = keyed[0][0]
            shuffled = [each for key, each in keyed if key == first]
            keyed = [each for each in keyed if each[0] != first]
            clock.tick()
            [(counts, _)] = write.process((first, map(coder.decode, shuffled)))
            total += counts.skipped
            clock.tick("outcomes")
    assert total == count
    each = ", ".join(f"{step} {taken / count * 1e6:.1f}" for step, taken in clock.steps.items())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    size = sum(file.size for file in written) / count
    return (
        f"{count:,} sources: µs of CPU each: {each}; {size:.0f} B each in {len(written)} files;"
        f" at most {peak} MB"
    )


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_known")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sources", type=int, nargs="+", default=[1_000_000, 10_000_000])
    known = parser.parse_args(argv)
    print(describe_machine(["deltalake", "pyarrow", "apache-beam"]))
    for count in known.sources:
        print(measure(known.folder, count), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
