"""The lossless JPEG-LS encoder writes what CharLS writes, and what its readers read."""

import shutil
from contextlib import suppress
from typing import Any

import imagecodecs
import jpeg_ls
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomferry.dicom.dicom_file import open_file
from dicomferry.dicom.range_reader import BytesReader
from dicomferry.dicom.transfer_syntaxes import JPEG_LS_LOSSLESS
from dicomferry.errors import InstanceError
from dicomferry.pixels.codecs import jpegls, jpegls_lossless
from dicomferry.pixels.codecs.codestream import read_jpeg
from dicomferry.pixels.image_pixel import ImagePixel, read_image
from dicomferry.pixels.quality import Quality
from tests.pixels.instances import data_set, part10

if shutil.which("cc"):
    from dicomferry.pixels.codecs import _jpegls
else:
    _jpegls = pytest.importorskip(
        "dicomferry.pixels.codecs._jpegls", reason="not built: there is no C compiler"
    )

Samples = np.ndarray[Any, np.dtype[Any]]


def _spikes(random: np.random.Generator, shape: tuple[int, int], highest: int) -> Samples:
    """A sample that nothing announces has a code of the greatest length."""
    values = random.integers(0, min(highest, 2), shape, endpoint=True)
    values[random.random(shape) < 0.05] = highest
    return values


def _ramps(_random: np.random.Generator, shape: tuple[int, int], highest: int) -> Samples:
    rows, columns = np.indices(shape)
    return (3 * rows + 5 * columns) % (highest + 1)


def _runs(random: np.random.Generator, shape: tuple[int, int], highest: int) -> Samples:
    ends = random.random(shape) < 0.03
    return np.cumsum(ends * random.integers(0, highest, shape), axis=1) % (highest + 1)


KINDS = {
    "noise": lambda random, shape, highest: random.integers(0, highest, shape, endpoint=True),
    "smooth": lambda random, shape, highest: np.clip(
        random.normal(highest / 2, highest / 200 + 1, shape), 0, highest
    ),
    "flat": lambda random, shape, highest: np.full(shape, random.integers(highest, endpoint=True)),
    "extremes": lambda random, shape, highest: random.choice([0, highest], shape),
    "chessboard": lambda _, shape, highest: np.indices(shape).sum(0) % 2 * highest,
    "stripes": lambda _, shape, highest: np.indices(shape)[1] // 7 % 2 * highest,
    "ramps": _ramps,
    "runs": _runs,
    "spikes": _spikes,
}
SHAPES = st.one_of(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.just(1), st.integers(1, 3000)),
    st.tuples(st.integers(1, 3000), st.just(1)),
)


def _picture(
    shape: tuple[int, int], depth: int, kind: str, seed: int, is_wide: bool = False
) -> Samples:
    values = KINDS[kind](np.random.default_rng(seed), shape, (1 << depth) - 1)
    return values.astype(np.uint16 if depth > 8 or is_wide else np.uint8)


def _attributes(samples: Samples, depth: int, is_signed: bool = False) -> ImagePixel:
    allocated = 8 * samples.itemsize
    image = read_image(open_file(BytesReader(part10(data_set(np.zeros((2, 2), np.uint16), 16)))))
    return image._replace(
        rows=samples.shape[0],
        columns=samples.shape[1],
        bits_allocated=allocated,
        bits_stored=depth,
        signed=is_signed,
    )


def _encoded(samples: Samples, depth: int) -> bytes:
    image = _attributes(samples, depth)
    return jpegls.encode(samples, image, image, JPEG_LS_LOSSLESS, Quality())


def _encoded_by_charls(samples: Samples, depth: int) -> bytes | None:
    """By the library alone; None where it has no room for the stream."""
    with suppress(RuntimeError):
        if depth == 8 * samples.itemsize:
            stream = bytes(imagecodecs.jpegls_encode(samples, level=0))
            return stream[:2] + stream[read_jpeg(stream).sof :]
    with suppress(RuntimeError):
        return bytes(jpeg_ls.encode_buffer(samples.tobytes(), *samples.shape, 1, depth))
    return None


def _check(samples: Samples, depth: int) -> None:
    stream = jpegls_lossless.encode(samples, depth)
    assert stream == (_encoded_by_charls(samples, depth) or stream)
    assert np.array_equal(imagecodecs.jpegls_decode(stream).reshape(samples.shape), samples)
    image = _attributes(samples, depth)
    assert np.array_equal(jpegls.decode(stream, image, JPEG_LS_LOSSLESS).pixels, samples)


@given(
    shape=SHAPES,
    depth=st.integers(2, 16),
    kind=st.sampled_from(sorted(KINDS)),
    seed=st.integers(0, 2**32),
    is_wide=st.booleans(),
)
def test_streams_are_those_of_charls(
    shape: tuple[int, int], depth: int, kind: str, seed: int, is_wide: bool
) -> None:
    _check(_picture(shape, depth, kind, seed, is_wide), depth)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depth", [2, 3, 7, 8, 9, 12, 13, 15, 16])
def test_large_streams_are_those_of_charls(depth: int, kind: str) -> None:
    samples = _picture((257, 1031), depth, kind, depth)
    assert _encoded_by_charls(samples, depth) is not None
    _check(samples, depth)


@pytest.mark.parametrize("rows", [8, 100, 60000])
@pytest.mark.parametrize("depth", [8, 16])
def test_streams_of_nothing_but_ones_are_those_of_charls(depth: int, rows: int) -> None:
    # A run of one sample, in each line, is the bit 1; after each byte 0xFF comes a 0.
    samples = np.zeros((rows, 1), np.uint8 if depth == 8 else np.uint16)
    assert rows < 100 or b"\xff\x7f\xff\x7f" in jpegls_lossless.encode(samples, depth)
    _check(samples, depth)


@pytest.mark.parametrize("shape", [(2, 65535), (65535, 2)])
def test_the_longest_runs_are_coded_as_charls_does(shape: tuple[int, int]) -> None:
    samples = np.zeros(shape, np.uint16)
    samples[-1, -1] = 1
    _check(samples, 16)


def test_every_last_byte_is_ended_as_charls_does() -> None:
    for columns in range(1, 200):
        _check(np.full((1, columns), 0, np.uint8), 8)
        _check(_picture((3, columns), 16, "noise", columns), 16)


def test_signed_samples_are_coded_as_their_bits() -> None:
    samples = np.arange(-600, 600, dtype=np.int16).reshape(30, 40)
    image = _attributes(samples, 12, is_signed=True)
    stream = jpegls.encode(samples, image, image, JPEG_LS_LOSSLESS, Quality())
    assert stream == _encoded_by_charls((samples & 0xFFF).view(np.uint16), 12)
    assert np.array_equal(jpegls.decode(stream, image, JPEG_LS_LOSSLESS).pixels, samples)


@pytest.mark.parametrize("kind", ["smooth", "noise"])
@pytest.mark.parametrize("depth", [5, 8, 12, 16])
def test_without_the_encoder_the_libraries_write_the_same_bytes(
    depth: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = _picture((257, 1031), depth, kind, 1)
    stream = _encoded(samples, depth)
    assert stream == jpegls_lossless.encode(samples, max(8, depth))
    monkeypatch.setattr(jpegls_lossless, "IS_BUILT", False)
    monkeypatch.setattr(jpegls_lossless, "encode_scan", None)
    assert _encoded(samples, depth) == stream


@given(shape=SHAPES, depth=st.integers(2, 16), kind=st.sampled_from(sorted(KINDS)))
def test_frames_of_few_samples_have_the_same_bytes_too(
    shape: tuple[int, int], depth: int, kind: str
) -> None:
    samples = _picture(shape, depth, kind, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jpegls_lossless, "IS_BUILT", False)
        expected = _encoded(samples, depth)
    assert _encoded(samples, depth) == expected
    image = _attributes(samples, depth)
    assert np.array_equal(jpegls.decode(expected, image, JPEG_LS_LOSSLESS).pixels, samples)


@pytest.mark.parametrize("columns", [1, 2, 40, 41, 42])
@pytest.mark.parametrize("zeros", [1, 2, 3])
def test_zeros_between_the_last_code_and_the_end_marker_are_no_code(
    columns: int, zeros: int
) -> None:
    for value in range(16):  # the last code ends in every bit, and in bytes of zeros too
        samples = _picture((9, columns), 8, "runs", value)
        image = _attributes(samples, 8)
        stream = jpegls.encode(samples, image, image, JPEG_LS_LOSSLESS, Quality())
        padded = stream[:-2] + bytes(zeros) + stream[-2:]
        assert np.array_equal(jpegls.decode(padded, image, JPEG_LS_LOSSLESS).pixels, samples)


def test_what_is_between_the_last_code_and_the_end_marker_is_not_anything() -> None:
    samples = _picture((9, 41), 8, "noise", 1)
    image = _attributes(samples, 8)
    stream = jpegls.encode(samples, image, image, JPEG_LS_LOSSLESS, Quality())
    with pytest.raises(InstanceError, match="CODE_STREAM_INVALID"):
        jpegls.decode(stream[:-2] + b"\x12\x34\x56" + stream[-2:], image, JPEG_LS_LOSSLESS)


def test_a_picture_with_gaps_between_its_rows_is_encoded_all_the_same() -> None:
    samples = _picture((20, 60), 12, "smooth", 1)
    some = samples[::2, ::3]
    assert jpegls_lossless.encode(some, 12) == jpegls_lossless.encode(some.copy(), 12)


GREY = np.zeros((4, 4), np.uint16)
WRONG = {
    "signed": (GREY.view(np.int16), 16),
    "other byte order": (GREY.astype(">u2"), 16),
    "32 bits": (GREY.astype(np.uint32), 16),
    "floats": (GREY.astype(np.float16), 16),
    "one dimension": (GREY.reshape(-1), 16),
    "three dimensions": (GREY.reshape(4, 2, 2), 16),
    "bytes": (bytes(32), 8),
    "not contiguous": (GREY[:, ::2], 16),
    "by column": (np.asfortranarray(np.zeros((4, 5), np.uint16)), 16),
    "no rows": (GREY[:0], 16),
    "no columns": (np.zeros((4, 0), np.uint16), 16),
    "too many rows": (np.zeros((65536, 1), np.uint8), 8),
    "too many columns": (np.zeros((1, 65536), np.uint8), 8),
    "depth of none": (GREY, 0),
    "depth of one": (GREY, 1),
    "depth below none": (GREY, -8),
    "depth of 17": (GREY, 17),
    "bytes with words' depth": (GREY.astype(np.uint8), 9),
    "beyond the depth": (GREY + 4096, 12),
    "last beyond the depth": (np.array([[0, 255], [255, 256]], np.uint16), 8),
    "byte beyond the depth": (np.array([[0, 8]], np.uint8), 3),
}


@pytest.mark.parametrize(("samples", "depth"), WRONG.values(), ids=WRONG)
def test_what_is_no_picture_of_that_depth_is_refused(samples: Any, depth: int) -> None:
    with pytest.raises(ValueError, match=r"."):
        _jpegls.encode_scan(samples, depth)


def test_what_holds_no_samples_is_refused() -> None:
    for nothing in (None, 5, [[1, 2], [3, 4]]):
        with pytest.raises(TypeError):
            _jpegls.encode_scan(nothing, 8)
