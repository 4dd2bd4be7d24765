"""The runs of `bench_export`: of our command, the plain loop and each peer, one repetition each."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path

from benchmarks import ct_files, orthanc, peers
from benchmarks.export_rows import CT, EIGHT_BITS, MULTIFRAME, Row, Size
from benchmarks.measuring import Run, run, settle

RUN = ct_files.ROOT / "run-export"
_ROOT = RUN / "root"
_DATASET = _ROOT / "projects/local/locations/local/datasets/default/dicomStores"
_OUT = RUN / "out"
_COMMAND = Path(sys.executable).parent / "dicomferry"
# Of peers that the best one leaves behind, one run is enough.
_FAR_BEHIND = 0.6
_FREED_SECONDS = 3.0


class Stores:
    """Stores with the source files of rows, created when first used."""

    def __init__(self, size: Size) -> None:
        self._size = size
        self._made: dict[tuple[str, int], Path] = {}

    def source(self, kind: str, count: int) -> Path:
        """Return the folder of `count` files, or of a file of `count` frames, which a store has."""
        if (kind, count) not in self._made:
            folder = self._folder(kind, count)
            store = store_id(kind, count)
            run([_COMMAND, "stores", "create", store, "--root", _ROOT])
            run([_COMMAND, "import", store, f"{folder.resolve()}/**.dcm", "--root", _ROOT])
            self._made[kind, count] = folder
        return self._made[kind, count]

    def _folder(self, kind: str, count: int) -> Path:
        if kind == MULTIFRAME:
            return ct_files.make_multiframe(count)
        if kind in (CT, EIGHT_BITS):
            counts = [self._size.few, *self._size.files]
            bits = 8 if kind == EIGHT_BITS else 16
            return ct_files.make_nested(f"export-{kind}", counts, bits=bits)[counts.index(count)]
        self.source(CT, count)
        folder = RUN / store_id(kind, count)
        run(_export(store_id(CT, count), folder, f"application/dicom; transfer-syntax={kind}"))
        return folder


class RowRuns:
    """All runs of one row so far.

    Attributes:
        row: the export.
        counts: files or frames of a short run and of a long one.
        ours: short runs and long ones.
        sampled: a short run and a long one, apart from the timed ones, since sampling slows them.
        plain: short runs and long ones of the plain loop.
        peers: seconds over the short run's files, by peer; None if it is missing, empty if it
            cannot do this.
    """

    def __init__(self, row: Row, size: Size, stores: Stores) -> None:
        self.row = row
        self.counts = size.counts(row)
        self.ours: tuple[list[Run], list[Run]] = ([], [])
        self.sampled: list[Run] = []
        self.plain: tuple[list[Run], list[Run]] = ([], [])
        self.peers: dict[str, list[float] | None] = {}
        self._sources = [stores.source(row.source, count) for count in self.counts]

    @property
    def repeats(self) -> int:
        return len(self.plain[1])

    def repeat(self) -> None:
        """Run each contender once more, in turn, so that a disturbance affects all of them."""
        row = self.row
        out = _OUT / f"{row.name.replace(' ', '-')}-{self.repeats}"
        for at, (source, count) in enumerate(zip(self._sources, self.counts, strict=True)):
            store = store_id(row.source, count)
            blobs = _DATASET / store
            ours = _export(store, out / f"ours-{count}", row.mime_type)
            plain = _plain(row.form, source, out / f"plain-{count}")
            if len(self.sampled) == at:
                sampled = _export(store, out / f"sampled-{count}", row.mime_type)
                self.sampled.append(_measure(sampled, blobs, sampled=True))
            self.ours[at].append(_measure(ours, blobs))
            self.plain[at].append(_measure(plain, source))
        self._repeat_peers(out)
        _empty(out)

    def peer_rates(self) -> dict[str, float | None]:
        """Return files per second of each peer: 0 if it lacks the format, None if it is missing."""
        return {
            name: None
            if taken is None
            else self.counts[0] / statistics.median(taken)
            if taken
            else 0.0
            for name, taken in self.peers.items()
        }

    def _repeat_peers(self, out: Path) -> None:
        rates = self.peer_rates()
        best = max((rate for rate in rates.values() if rate), default=0.0)
        files = sorted(self._sources[0].rglob("*.dcm"))
        for name, work in self._peers(files, out):
            if name in rates and (rates[name] or 0.0) <= best * _FAR_BEHIND:
                continue
            settle([self._sources[0]])
            taken = self.peers.setdefault(name, [])
            if work is None:
                self.peers[name] = None
            elif taken is not None:
                try:
                    taken.append(work())
                except (subprocess.CalledProcessError, RuntimeError, HTTPException, OSError):
                    taken.clear()

    def _peers(self, files: list[Path], out: Path) -> list[tuple[str, Callable[[], float] | None]]:
        """Return by each peer's name the function that runs it; None if it is not installed."""
        found: list[tuple[str, Callable[[], float] | None]] = []
        syntax = self.row.source if self.row.source.startswith("1.2.") else ""
        if self.row.is_multiframe:
            return found
        for tool in peers.tools(syntax, self.row.form):

            def by_tool(tool: list[str] = tool) -> float:
                return peers.seconds(tool, files, out / tool[0])

            found.append((tool[0], None if peers.is_missing(tool) else by_tool))
        form = peers.ORTHANC_FORMS.get((syntax, self.row.form))
        if form is not None:

            def by_orthanc(form: str = form) -> float:
                with orthanc.running_orthanc() as server:
                    server.upload(files)
                    settle()
                    return server.export(form, out / "orthanc")

            found.append(("Orthanc", by_orthanc if orthanc.is_installed() else None))
        return found


def store_id(kind: str, count: int) -> str:
    return f"{kind.rpartition('.')[2]}-{count}"


def _export(store: str, out: Path, mime_type: str) -> list[str | Path]:
    argv: list[str | Path] = [_COMMAND, "export", "files", store, out, "--root", _ROOT]
    return [*argv, "--mime-type", mime_type] if mime_type else argv


def _plain(form: str, source: Path, out: Path) -> list[str | Path]:
    return [sys.executable, "-m", "benchmarks.plain_export", form, source, out]


def _measure(argv: Sequence[str | Path], source: Path, *, sampled: bool = False) -> Run:
    settle([source])
    return run(argv, sampled=sampled)


def _empty(folder: Path) -> None:
    """Empty the files that all contenders wrote; their names remain until the benchmark ends.

    Memory that a file has just freed is fast to write to, until a virtual machine returns it to its
    host two seconds later: an earlier start would profit from the files of the run before. And ext4
    without a journal does not reuse the inodes of files removed within the last minute, but checks
    each of them again for every new file.
    """
    for path in folder.rglob("*"):
        if path.is_file():
            os.truncate(path, 0)
    settle()
    time.sleep(_FREED_SECONDS)
