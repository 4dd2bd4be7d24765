"""A listing that all workers share: how evenly it divides, and how long it takes.

python -m benchmarks.bench_listing [--objects N ...] [--workers W]

The bucket has N objects that exist only as a rule for their names, and answers a request with up to
1,000 of them, as Cloud Storage does. The parts that workers list are those of `ListSources`. The
clock is simulated: a request takes 0.05 s, a part goes to the first free one of W workers of 2
cores, and each round starts when the one before has ended. The CPU time is real.
"""

import argparse
import heapq
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import NamedTuple
from unittest import mock

from dicomferry.sources import bucket
from dicomferry.sources.pattern import SourcePattern
from dicomferry.transforms.list_sources import _PAGES, _ROUNDS, list_share, whole

_REQUEST_SECONDS = 0.05
_CORES = 2
NAMES: dict[str, Callable[[int], str]] = {
    "flat": lambda n: f"archive/{n:012d}.dcm",
    "nested": lambda n: f"patient{n // 2000:07d}/{n // 500 % 4}/series{n // 100 % 5}/{n % 100:04d}",
}


class _Blob(NamedTuple):
    name: str
    size: int = 500_000
    generation: int = 1710147612000000
    crc32c: str = "AAAAAA=="


class _Names:
    """The sorted names of a bucket."""

    def __init__(self, count: int, name: Callable[[int], str]) -> None:
        self._count, self._name = count, name

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> str:
        return self._name(number)


class Bucket:
    """Answers requests, and counts them."""

    def __init__(self, count: int, name: Callable[[int], str]) -> None:
        self._names = _Names(count, name)
        self.requests = 0

    def request(
        self,
        _: SourcePattern,
        query: Mapping[str, str],
        token: str | None = None,
        page_size: int | None = None,
    ) -> bucket._Page:
        """Stands for `bucket._request`."""
        self.requests += 1
        start, end = query.get("start_offset", ""), query.get("end_offset", "")
        first = int(token) if token else bisect_left(self._names, start)
        stop = bisect_left(self._names, end) if end else len(self._names)
        last = min(first + 1000, stop)
        blobs = [_Blob(self._names[number]) for number in range(first, last)]
        return bucket._Page(blobs, [], str(last) if last < stop else None)


def measure(count: int, name: Callable[[int], str], workers: int) -> str:
    """List a bucket; return what it took."""
    served = Bucket(count, name)
    shares, listed, parts, clock, cpu, largest = [whole("gs://bucket/**")], 0, 0, 0.0, 0.0, 0
    busy = [0.0] * (workers * _CORES)
    with mock.patch.object(bucket, "_request", served.request):
        for number in range(_ROUNDS + 1):
            free = [clock] * len(busy)
            following = []
            for share in shares:
                before, began = served.requests, time.process_time()
                for each in list_share(share, _PAGES if number < _ROUNDS else None):
                    if isinstance(each, tuple):
                        following.append(each)
                    else:
                        listed += len(each.value)
                cpu += time.process_time() - began
                requests = served.requests - before
                largest = max(largest, requests)
                started = heapq.heappop(free)
                heapq.heappush(free, started + requests * _REQUEST_SECONDS)
            parts += len(shares)
            busy = [total + end - clock for total, end in zip(busy, sorted(free), strict=True)]
            clock = max(free)
            shares = following
    assert listed == count
    return (
        f"{count:,} objects: {clock:.1f} s with {workers} workers, {served.requests:,} requests in"
        f" {parts:,} parts of at most {largest} requests; a core waited for"
        f" {min(busy):.1f} to {max(busy):.1f} s; {cpu / count * 1e6:.1f} µs of CPU an object,"
        " with the names made"
    )


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_listing")
    parser.add_argument("--objects", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--workers", type=int, default=100)
    known = parser.parse_args(argv)
    for kind, name in NAMES.items():
        for count in known.objects:
            print(f"{kind}: {measure(count, name, known.workers)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
