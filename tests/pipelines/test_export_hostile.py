"""Within a whole job, code streams that are absurd, crash a codec or hang it fail alone."""

import struct
import zlib

import numpy as np
import pytest
from pydicom.encaps import encapsulate, generate_frames

from dicomferry.transforms import export_files
from dicomferry.transforms.worker_pool import close_shared_pools
from tests.pipelines import hostile_codecs
from tests.pipelines.exports import store_of
from tests.pipelines.jobs import run_export, tree, write_files
from tests.pixels.instances import PREFIX, data_set, gray, part10, read, to_dicom

GOOD = 20
PIXELS = gray((64, 64), 8)


def instance(number, data=None):
    """A small image with UIDs of its own."""
    ds = read(data) if data else data_set(PIXELS)
    syntax = str(ds.file_meta.TransferSyntaxUID) if data else f"{PREFIX}.1"
    ds.SOPInstanceUID = f"1.2.1.1.{number}"
    return part10(ds, syntax)


def with_stream(number, end, change):
    """An image whose code stream is changed by a function."""
    ds = read(to_dicom(instance(number), end))
    stream = change(next(generate_frames(ds.PixelData, number_of_frames=1)))
    ds.PixelData = encapsulate([stream])
    return part10(ds, f"{PREFIX}{end}")


def jpeg_of(rows, columns):
    """Changes the size that a JPEG or JPEG-LS stream claims."""

    def change(stream):
        at = next(i for i in range(len(stream)) if stream[i : i + 2] in (b"\xff\xc0", b"\xff\xf7"))
        return stream[: at + 5] + struct.pack(">HH", rows, columns) + stream[at + 9 :]

    return change


def jpeg_2000_of(rows, columns):
    """Changes the size that a JPEG 2000 stream claims."""
    return lambda stream: stream[:8] + struct.pack(">LL", columns, rows) + stream[16:]


def bomb(_):
    """100 MiB of zeros for a frame of 4 KiB."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflater.compress(bytes(100 << 20)) + deflater.flush()


def without_end(stream):
    return stream[: len(stream) // 2]


def random_bytes(stream):
    return np.random.default_rng(1).bytes(len(stream))


ABSURD = {
    "rle-endless": with_stream(116, ".5", lambda s: s[:64] + b"\x81\0" * 5_000_000),
    "jpeg-huge": with_stream(101, ".4.50", jpeg_of(65000, 65000)),
    "jpeg-cut": with_stream(102, ".4.50", without_end),
    "jpegls-huge": with_stream(103, ".4.80", jpeg_of(60000, 60000)),
    "jpegls-random": with_stream(104, ".4.80", random_bytes),
    "j2k-huge": with_stream(105, ".4.90", jpeg_2000_of(1 << 30, 1 << 30)),
    "j2k-cut": with_stream(106, ".4.90", without_end),
    "htj2k-huge": with_stream(107, ".4.201", jpeg_2000_of(1 << 20, 1 << 20)),
    "htj2k-random": with_stream(108, ".4.201", random_bytes),
    "rle-segments": with_stream(109, ".5", lambda s: b"\xff\xff\xff\x7f" + s[4:]),
    "rle-cut": with_stream(110, ".5", lambda s: s[:80]),
    "jxl-random": with_stream(112, ".4.110", random_bytes),
    "jxl-cut": with_stream(113, ".4.110", without_end),
    "empty": with_stream(115, ".4.90", lambda s: b"\0\0"),
}
# What goes on beyond the frame is not read: 100 MiB in 100 KB.
ENDLESS = {
    "deflated": with_stream(117, ".8.1", bomb),
}
INVALID = {"CODE_STREAM_INVALID", "CODE_STREAM_MISMATCH"}


def good_files():
    return {f"good{number}.dcm": instance(number) for number in range(1, GOOD + 1)}


def check_written(out, job, numbers):
    assert job.kinds["exported"] == len(numbers)
    expected = {f"{number}.png" for number in numbers}
    assert {name.rpartition("1.2.1.1.")[2] for name in tree(out)} == expected


@pytest.mark.parametrize("workers", [0, 2])
def test_absurd_code_streams_fail_alone(tmp_path, workers):
    files = good_files() | {f"{name}.dcm": content for name, content in (ABSURD | ENDLESS).items()}
    write_files(tmp_path / "in", files)
    store = store_of(tmp_path, tmp_path / "in")
    out = tmp_path / "out"
    job = run_export(store.root, out, "--mime-type=image/png", workers=workers)
    close_shared_pools()
    assert job.code == 1
    failures = store.failures(job)
    assert {name.removesuffix(".dcm") for name in failures} == ABSURD.keys()
    assert set(failures.values()) <= INVALID
    check_written(out, job, [*range(1, GOOD + 1), 117])


@pytest.mark.parametrize("frames", [1, 12])
@pytest.mark.parametrize("mark", [hostile_codecs.CRASH, hostile_codecs.HANG])
def test_a_codec_that_takes_its_process_along_costs_one_instance(
    tmp_path, monkeypatch, mark, frames
):
    """Also when the frame is in the hands of a helper."""
    pixels = np.stack([PIXELS] * frames) if frames > 1 else PIXELS
    ds = data_set(pixels, frames=frames if frames > 1 else 0)
    ds.SOPInstanceUID = "1.2.1.1.500"
    trap = read(to_dicom(part10(ds), ".5"))
    streams = list(generate_frames(trap.PixelData, number_of_frames=frames))
    streams[-1] += mark + b"\0"
    trap.PixelData = encapsulate(streams)
    write_files(tmp_path / "in", good_files() | {"trap.dcm": part10(trap, f"{PREFIX}.5")})
    store = store_of(tmp_path, tmp_path / "in")
    monkeypatch.setattr(export_files, "write_all", hostile_codecs.write_all)
    # Enough for a new process to load its codecs on a busy machine; of few, so as not to wait long.
    monkeypatch.setattr(export_files, "_timeout_for", lambda *_, **__: 10.0)
    monkeypatch.setattr(export_files, "_CHUNK_INSTANCES", 2)
    close_shared_pools()
    out = tmp_path / "out"
    job = run_export(store.root, out, "--mime-type=image/png", workers=2)
    close_shared_pools()
    assert job.code == 1
    assert store.failures(job) == {"trap.dcm": "WORKER_LOST"}
    check_written(out, job, range(1, GOOD + 1))
