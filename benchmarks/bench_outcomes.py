"""The outcomes of a large import of new files: written, counted, and read again.

python -m benchmarks.bench_outcomes FOLDER [--outcomes N ...]

Outcomes come one by one in the order of a hash, as buckets are confirmed, and go to lists in the
order of the listing; what crosses a shuffle is encoded and decoded as Beam does it. With each list
a file of known sources is written. One list after the other is made, so this process has in memory
what a worker has, and the outcomes of that list. Every tenth outcome is a conflict.
"""

import argparse
import hashlib
import random
import resource
import secrets
import sys
from pathlib import Path

from apache_beam.coders import FastPrimitivesCoder

from benchmarks.bench_known import Clock, make_sources, ranges
from benchmarks.machine import describe_machine, load
from dicomferry.errors import Reason
from dicomferry.operations.folder import start_operation
from dicomferry.operations.outcomes import Outcome
from dicomferry.operations.record import Method
from dicomferry.resource_names import parse_store
from dicomferry.sources.source import Source
from dicomferry.storage.registry import open_storage
from dicomferry.store.dicom_store import create_store
from dicomferry.transforms.list_sources import LISTING_FILES
from dicomferry.transforms.outcome_bounds import bounds_of
from dicomferry.transforms.records import FileOutcome
from dicomferry.transforms.write_outcomes import (
    WriteOutcomes,
    _key_by_shard,
    _sum,
    _write_counts,
    _WriteFn,
    _Written,
)

_CONFLICTS = 10


def _outcome(source: Source) -> FileOutcome:
    number = int.from_bytes(hashlib.sha256(source.uri.encode()).digest()[:16])
    uid = f"2.25.{number}"
    if number % _CONFLICTS:
        return FileOutcome(source.uri, Outcome.IMPORTED, "", uid, "", source.size, source.version)
    other = f"gs://archive/2025/{uid}.dcm"
    code = Reason.ALREADY_EXISTS
    kind = Outcome.CONFLICT
    return FileOutcome(source.uri, kind, code, uid, other, source.size, source.version)


def measure(folder: Path, count: int) -> str:
    """Write and read outcomes; return the cost of each step."""
    root = open_storage(str(folder))
    store = create_store(root, parse_store(f"outcomes-{secrets.token_hex(4)}"))
    operation = start_operation(root, store.name, Method.IMPORT)
    clock, coder = Clock(), FastPrimitivesCoder()
    options = WriteOutcomes(operation, "00000", remember=store.data)
    write = _WriteFn(options)
    starts = [make_sources(numbers[:1])[0].uri for numbers in ranges(count, LISTING_FILES)]
    sizes = map(len, ranges(count, LISTING_FILES))
    bounds = bounds_of(zip(starts, sizes, strict=True))
    edges = [0, *(int(uri[-14:-4]) for uri in bounds), count]
    written: list[_Written] = []
    for shard, numbers in enumerate(map(range, edges, edges[1:])):
        outcomes = [_outcome(source) for source in make_sources(numbers)]
        random.shuffle(outcomes)
        clock.tick()
        keyed = [each for outcome in outcomes for each in _key_by_shard(outcome, bounds)]
        assert {key for key, _ in keyed} == {shard}
        shuffled = [coder.encode(each) for _, each in keyed]
        clock.tick("key and encode")
        del keyed, outcomes
        written += write.process((shard, map(coder.decode, shuffled)))
        clock.tick("decode and write")
    clock.tick()
    _write_counts(_sum(written), options)
    clock.tick("sum and commit of known sources")
    counts = operation.counts()
    assert counts.imported + counts.conflict == count
    clock.tick()
    problems = sum(1 for _ in operation.problems())
    clock.tick("list the problems")
    assert problems == counts.conflict
    assert sum(1 for _ in operation.outcomes()) == count
    clock.tick("list all")
    lists = [e.size for e in operation.storage.list() if e.path.startswith("outcomes-")]
    each = ", ".join(f"{step} {taken / count * 1e6:.1f}" for step, taken in clock.steps.items())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return (
        f"{count:,} outcomes: µs of CPU each: {each}; {sum(lists) / count:.0f} B each in"
        f" {len(lists)} lists; at most {peak} MB; {load()}"
    )


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_outcomes")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--outcomes", type=int, nargs="+", default=[1_000_000, 10_000_000])
    known = parser.parse_args(argv)
    print(describe_machine(["deltalake", "pyarrow", "apache-beam"]))
    for count in known.outcomes:
        print(measure(known.folder, count), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
