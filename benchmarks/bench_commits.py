"""python -m benchmarks.bench_commits: commits of many writers, and the log of many files.

- grouped: W writers prepare 5 files of 100 rows each, at once; one step commits them, beside a
  rival import that commits a second after its last commit
- apart: W imports commit one file each, all at once
- log: what opening an index of 1,000 and of 10,000 files takes, which need not exist for that
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from benchmarks.bench_scale import make_instance
from benchmarks.machine import bytes_read
from dicomferry.resource_names import parse_store
from dicomferry.storage.base import Storage
from dicomferry.storage.registry import open_storage
from dicomferry.store.dicom_store import create_store
from dicomferry.store.index import Index
from dicomferry.store.index_commit import PreparedFile, commit_files
from dicomferry.store.index_files import WrittenFile
from dicomferry.transforms.prepare_instances import prepare

_FILES = 5
_ROWS = 100
_THREADS = 80


def prepared(data: Storage, first: int) -> list[PreparedFile]:
    """Prepare a file of new rows."""
    rows = [make_instance("random", number) for number in range(first, first + _ROWS)]
    return prepare(data, rows, f"op{first}").files


def grouped(data: Storage, writers: int) -> str:
    """Commit what many writers have prepared, beside a rival."""
    stop, rivals = threading.Event(), [0]

    def rival() -> None:
        while not stop.wait(1.0):
            commit_files(data, prepared(data, 10**8 + rivals[0] * _ROWS))
            rivals[0] += 1

    thread = threading.Thread(target=rival)
    thread.start()
    began = time.monotonic()
    with ThreadPoolExecutor(_THREADS) as threads:
        starts = range(0, writers * _FILES * _ROWS, _ROWS)
        files = [file for some in threads.map(lambda n: prepared(data, n), starts) for file in some]
    ready = time.monotonic()
    committed = commit_files(data, files)
    seconds = time.monotonic() - ready
    stop.set()
    thread.join()
    count = Index(data).count()
    assert count == (writers * _FILES + rivals[0]) * _ROWS, count
    return (
        f"{writers} writers x {_FILES} files, prepared in {ready - began:.1f} s: "
        f"{len(committed.commits)} commits, {committed.lost_races} lost races, {seconds:.1f} s, "
        f"beside {rivals[0]} commits of a rival"
    )


def apart(data: Storage, writers: int) -> str:
    """Let many imports commit at once."""
    files = [prepared(data, number * _ROWS) for number in range(writers)]
    began = time.monotonic()
    with ThreadPoolExecutor(writers) as threads:
        lost = sum(each.lost_races for each in threads.map(lambda f: commit_files(data, f), files))
    seconds = time.monotonic() - began
    assert Index(data).count() == writers * _ROWS
    return f"{writers} imports at once: {writers} commits, {lost} lost races, {seconds:.1f} s"


def log(data: Storage, files: int) -> str:
    """Open an index of many files."""
    statistics = prepared(data, 0)[0].file.statistics
    for start in range(0, files, 1000):
        names = (f"import-{number:032x}-00000.parquet" for number in range(start, start + 1000))
        Index(data).append([WrittenFile(name, 1000, statistics) for name in names])
    began, cpu, read = time.monotonic(), time.process_time(), bytes_read()
    index = Index(data)
    opened, opened_cpu = time.monotonic() - began, time.process_time() - cpu
    read = bytes_read() - read
    count = len(index.file_stats())
    return (
        f"an index of {count:,} files: opened in {opened:.2f} s, {opened_cpu:.2f} s of CPU, "
        f"{read / 1e6:.1f} MB read; with the bounds of all in {time.monotonic() - began:.2f} s, "
        f"{time.process_time() - cpu:.2f} s of CPU"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--writers", type=int, nargs="+", default=[80, 400])
    options = parser.parse_args(argv)
    runs = [(grouped, writers) for writers in options.writers]
    for run, size in [*runs, (apart, options.writers[0]), (log, 1_000), (log, 10_000)]:
        with tempfile.TemporaryDirectory() as folder:
            store = create_store(open_storage(folder), parse_store("commits"))
            print(run(store.data, size), flush=True)


if __name__ == "__main__":
    main()
