"""python -m benchmarks.bench_export: exports beside plain loops, dcmtk, gdcm and Orthanc.

Each row asks for one form of CT-like files, and of one multi-frame instance. Ours and the plain
loop are processes of their own, run short and long to tell start and steady rate apart. Peers run
over the short set: dcmtk and gdcm as a process a file, two at a time; Orthanc as a server that runs
and holds the files already, asked by two clients.
"""

import argparse
import math
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks import ct_files, orthanc, peers
from benchmarks.machine import describe_machine, load
from benchmarks.measuring import Run, run, settle, steady
from benchmarks.targets import Target, print_targets
from transcode.syntaxes import (
    HTJ2K_LOSSLESS,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    RLE_LOSSLESS,
)

_RUN = ct_files.ROOT / "run-export"
_ROOT = _RUN / "root"
_OUT = _RUN / "out"
_COMMAND = Path(sys.executable).parent / "dicomferry"
_DISTRIBUTIONS = ("apache-beam", "pydicom", "numpy", "imagecodecs", "pyjpegls", "pylibjpeg-rle")
_MB = 1e6
_LONG_ENOUGH_SECONDS = 2.0
_CORES = os.cpu_count() or 1
_CT, _EIGHT_BITS, _MULTIFRAME = "ct", "ct8", "multiframe"


class _Row(NamedTuple):
    """One thing to measure.

    Attributes:
        name: as printed.
        source: what is stored: a kind of `ct_files`, or a transfer syntax that CT is brought to.
        form: of `plain_export` and `peers`.
        mime_type: of our command.
        peer_factor: how much faster than the best peer to be; 0 where there is no target.
        slow: fewer files are enough.
    """

    name: str
    source: str
    form: str
    mime_type: str
    peer_factor: float = 0
    slow: bool = False


def _dicom(syntax: str) -> str:
    return f"application/dicom; transfer-syntax={syntax}"


_RAW = "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"
_PNG, _JPEG = "image/png", "image/jpeg"
_ROWS = [
    _Row(".90", _CT, JPEG_2000_LOSSLESS, _dicom(JPEG_2000_LOSSLESS), 1.5, True),
    _Row(".90 to raw", JPEG_2000_LOSSLESS, "raw", _RAW, slow=True),
    _Row(".80", _CT, JPEG_LS_LOSSLESS, _dicom(JPEG_LS_LOSSLESS), 3),
    _Row(".70", _CT, JPEG_LOSSLESS_SV1, _dicom(JPEG_LOSSLESS_SV1), 2),
    _Row(".70 to raw", JPEG_LOSSLESS_SV1, "raw", _RAW),
    _Row("RLE", _CT, RLE_LOSSLESS, _dicom(RLE_LOSSLESS), 2),
    _Row(".201", _CT, HTJ2K_LOSSLESS, _dicom(HTJ2K_LOSSLESS)),
    _Row(".50, 8 bits", _EIGHT_BITS, JPEG_BASELINE, _dicom(JPEG_BASELINE), 5),
    _Row("PNG", _CT, "png", _PNG, 2.5),
    _Row("JPEG", _CT, "jpeg", _JPEG, 5),
    _Row("copy", _CT, "copy", "", 5),
    _Row("frames to .90", _MULTIFRAME, JPEG_2000_LOSSLESS, _dicom(JPEG_2000_LOSSLESS), slow=True),
    _Row("frames to .80", _MULTIFRAME, JPEG_LS_LOSSLESS, _dicom(JPEG_LS_LOSSLESS)),
    _Row("frames to .70", _MULTIFRAME, JPEG_LOSSLESS_SV1, _dicom(JPEG_LOSSLESS_SV1)),
    _Row("frames to RLE", _MULTIFRAME, RLE_LOSSLESS, _dicom(RLE_LOSSLESS)),
    _Row("frames to .201", _MULTIFRAME, HTJ2K_LOSSLESS, _dicom(HTJ2K_LOSSLESS)),
    _Row("frames to PNG", _MULTIFRAME, "png", _PNG),
    _Row("frames to JPEG", _MULTIFRAME, "jpeg", _JPEG),
]


class _Size(NamedTuple):
    """Files of short runs, of long ones of slow and of fast rows; frames; repetitions."""

    few: int
    some: int
    many: int
    few_frames: int
    some_frames: int
    many_frames: int
    repeats: int


_FULL = _Size(200, 500, 1_000, 50, 150, 500, 3)
_QUICK = _Size(60, 200, 600, 20, 60, 150, 1)


class _Result(NamedTuple):
    """What was measured of one row; rates in files or frames a second."""

    row: _Row
    rate: float
    start: float
    whole: float
    plain: float
    peers: dict[str, float | None]
    peak: int
    cores: float

    @property
    def best_peer(self) -> float | None:
        """None if a peer is missing: what was not measured was not beaten."""
        rates = [rate for rate in self.peers.values() if rate is not None]
        return max(rates) if rates and len(rates) == len(self.peers) else None


class _Stores:
    """Stores with what rows start from, made when first asked for."""

    def __init__(self, size: _Size) -> None:
        self._size = size
        self._made: dict[tuple[str, int], Path] = {}

    def source(self, kind: str, count: int) -> Path:
        """The folder of so many files, or of one file of so many frames; a store has them too."""
        if (kind, count) not in self._made:
            folder = self._folder(kind, count)
            store = store_id(kind, count)
            run([_COMMAND, "stores", "create", store, "--root", _ROOT])
            run([_COMMAND, "import", store, f"{folder.resolve()}/**.dcm", "--root", _ROOT])
            self._made[kind, count] = folder
        return self._made[kind, count]

    def _folder(self, kind: str, count: int) -> Path:
        if kind == _MULTIFRAME:
            return ct_files.make_multiframe(count)
        if kind in (_CT, _EIGHT_BITS):
            counts = [self._size.few, self._size.some, self._size.many]
            bits = 8 if kind == _EIGHT_BITS else 16
            return ct_files.make_nested(f"export-{kind}", counts, bits=bits)[counts.index(count)]
        self.source(_CT, count)
        folder = _RUN / store_id(kind, count)
        run(_export(store_id(_CT, count), folder, _dicom(kind)))
        return folder


def store_id(kind: str, count: int) -> str:
    return f"{kind.rpartition('.')[2]}-{count}"


def _export(store: str, out: Path, mime_type: str) -> list[str | Path]:
    argv: list[str | Path] = [_COMMAND, "export", "files", store, out, "--root", _ROOT]
    return [*argv, "--mime-type", mime_type] if mime_type else argv


def _measure(argv: Sequence[str | Path], source: Path, *, sampled: bool = False) -> Run:
    shutil.rmtree(_OUT, ignore_errors=True)
    settle([source])
    return run(argv, sampled=sampled)


def _result(row: _Row, size: _Size, stores: _Stores) -> _Result:
    frames = row.source == _MULTIFRAME
    few = size.few_frames if frames else size.few
    if frames:
        many = size.some_frames if row.slow else size.many_frames
    else:
        many = size.some if row.slow else size.many
    sources = [stores.source(row.source, count) for count in (few, many)]
    ours = [_export(store_id(row.source, n), _OUT, row.mime_type) for n in (few, many)]
    plain: list[list[str | Path]] = [
        [sys.executable, "-m", "benchmarks.plain_export", row.form, source, _OUT]
        for source in sources
    ]
    runs: list[list[Run]] = [[], [], [], []]
    for _ in range(size.repeats):
        for at, argv in enumerate((*ours, *plain)):
            runs[at].append(_measure(argv, sources[at % 2]))
    steady_ours = steady(runs[0], runs[1], few, many)
    short, long = (
        _measure(argv, source, sampled=True) for argv, source in zip(ours, sources, strict=True)
    )
    return _Result(
        row,
        rate=steady_ours.rate,
        start=steady_ours.start,
        whole=few / statistics.median(each.seconds for each in runs[0]),
        plain=steady(runs[2], runs[3], few, many).rate,
        peers=dict(_peer_rates(row, sources[0], few, size.repeats)),
        peak=long.peak,
        cores=_cores(short, long),
    )


def _cores(short: Run, long: Run) -> float:
    """CPU time over wall time without the start; not a number where too little is left."""
    seconds = long.seconds - short.seconds
    return (long.cpu - short.cpu) / seconds if seconds >= _LONG_ENOUGH_SECONDS else math.nan


def _peer_rates(
    row: _Row, source: Path, count: int, repeats: int
) -> Iterator[tuple[str, float | None]]:
    """Yield each peer with its rate: 0 if it cannot do this, None if it is not installed."""
    files = sorted(source.rglob("*.dcm"))
    syntax = row.source if row.source.startswith("1.2.") else ""
    for tool in peers.tools(syntax, row.form):
        if peers.is_missing(tool):
            yield tool[0], None
            continue
        taken = []
        for _ in range(repeats):
            shutil.rmtree(_OUT, ignore_errors=True)
            settle([source])
            try:
                taken.append(peers.seconds(tool, files, _OUT))
            except subprocess.CalledProcessError:
                break
        yield tool[0], count / statistics.median(taken) if len(taken) == repeats else 0.0
    form = peers.ORTHANC_FORMS.get((syntax, row.form))
    if row.source == _MULTIFRAME or form is None:
        return
    if not orthanc.is_installed():
        yield "Orthanc", None
        return
    taken = []
    with orthanc.running_orthanc() as server:
        server.upload(files)
        for _ in range(repeats):
            shutil.rmtree(_OUT, ignore_errors=True)
            settle()
            try:
                taken.append(server.export(form, _OUT))
            except (RuntimeError, HTTPException, OSError):
                break
    yield "Orthanc", count / statistics.median(taken) if len(taken) == repeats else 0.0


def _print(console: Console, results: Sequence[_Result]) -> None:
    table = Table(title="files or frames a second", title_justify="left")
    headings = "", "steady", "start s", "whole", "plain loop", "peers", "memory MB", "cores busy"
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("", "peers") else "right")
    for result in results:
        rates = (
            f"{name} {'MISSING' if rate is None else format(rate, '.0f') if rate else 'cannot'}"
            for name, rate in result.peers.items()
        )
        table.add_row(
            result.row.name,
            f"{result.rate:,.0f}",
            f"{result.start:.1f}",
            f"{result.whole:,.0f}",
            f"{result.plain:,.0f}",
            ", ".join(rates) or "none",
            f"{result.peak / _MB:,.0f}",
            "-" if math.isnan(result.cores) else f"{result.cores:.1f}",
        )
    console.print(table)


def _targets(results: Sequence[_Result]) -> Iterator[Target]:
    for result in results:
        row = result.row
        yield Target(f"{row.name}, beside the plain loop", result.rate / result.plain, 0.9, "times")
        if row.peer_factor:
            best = result.best_peer
            measured = result.rate / best if best else None
            yield Target(f"{row.name}, beside the best peer", measured, row.peer_factor, "times")
    peak = max(result.peak for result in results) / _MB
    yield Target("memory, of all rows the most", peak, 1000, "MB", at_most=True)
    cores = [result.cores for result in results if not math.isnan(result.cores)]
    busy = statistics.median(cores) if cores else None
    yield Target("cores busy, median of the rows that last", busy, 0.8 * _CORES, "cores")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_export")
    parser.add_argument("--quick", action="store_true", help="few files, once: a trial")
    parser.add_argument("--rows", default="", help="only rows whose name contains this")
    parser.add_argument("--repeats", type=int, default=0, help="runs of each kind")
    known = parser.parse_args(argv)
    size = _QUICK if known.quick else _FULL
    size = size._replace(repeats=known.repeats or size.repeats)
    console = Console(width=120)
    console.print(describe_machine(_DISTRIBUTIONS), highlight=False)
    console.print(
        f"Medians of {size.repeats}; page cache warm; earlier writes synced before each run.\n"
        f"Whole: {size.few} files or one of {size.few_frames} frames, start included. Steady: more "
        "of them less these.\nPeers: the same files; what Orthanc needs to start and to take in "
        "the files is left out."
    )
    shutil.rmtree(_RUN, ignore_errors=True)
    _RUN.mkdir(parents=True)
    stores = _Stores(size)
    results = []
    for row in _ROWS:
        if known.rows in row.name:
            results.append(_result(row, size, stores))
            console.print(f"{row.name} done; {load()}", highlight=False)
    _print(console, results)
    print_targets(console, list(_targets(results)))
    shutil.rmtree(_RUN, ignore_errors=True)


if __name__ == "__main__":
    main()
