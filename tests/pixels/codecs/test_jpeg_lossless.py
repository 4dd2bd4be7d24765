"""JPEG Lossless as libjpeg-turbo reads it, whatever the samples."""

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomferry.pixels.codecs.jpeg_lossless import encode, huffman_lengths

_KINDS = ("noise", "smooth", "flat", "extremes")


def _samples(shape: tuple[int, ...], precision: int, kind: str, seed: int) -> np.ndarray:
    random, highest = np.random.default_rng(seed), (1 << precision) - 1
    values = {
        "noise": lambda: random.integers(0, highest, shape, endpoint=True),
        "smooth": lambda: np.clip(random.normal(highest / 2, 2, shape), 0, highest),
        "flat": lambda: np.full(shape, random.integers(0, highest, endpoint=True)),
        "extremes": lambda: random.choice([0, highest], shape),
    }[kind]()
    return values.astype(np.uint8 if precision <= 8 else np.uint16)


def _decoded(stream: bytes, is_color: bool) -> np.ndarray:
    space = "rgb" if is_color else None
    return imagecodecs.jpeg8_decode(stream, colorspace=space, outcolorspace=space)


@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    is_color=st.booleans(),
    precision=st.integers(2, 16),
    kind=st.sampled_from(_KINDS),
    seed=st.integers(0, 2**32),
)
def test_another_decoder_reads_the_same_samples(
    rows: int, columns: int, is_color: bool, precision: int, kind: str, seed: int
) -> None:
    shape = (rows, columns, 3) if is_color else (rows, columns)
    samples = _samples(shape, precision, kind, seed)
    stream = encode(samples, precision, b"RGB" if is_color else b"\1")
    assert np.array_equal(_decoded(stream, is_color).reshape(shape), samples)


@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize("is_color", [False, True])
def test_what_is_packed_piece_by_piece_is_one_stream(kind: str, is_color: bool) -> None:
    shape = (301, 703, 3) if is_color else (301, 703)
    samples = _samples(shape, 16, kind, 1)
    stream = encode(samples, 16, b"RGB" if is_color else b"\1")
    assert np.array_equal(_decoded(stream, is_color), samples)


def test_every_difference_of_two_samples_is_coded() -> None:
    # From each sample back to 0: every difference modulo 2^16, that without further bits too.
    samples = np.zeros((512, 256), np.uint16)
    samples.reshape(-1)[1::2] = np.arange(1 << 16, dtype=np.uint16)
    stream = encode(samples, 16, b"\1")
    assert np.array_equal(_decoded(stream, False), samples)


def test_streams_are_no_longer_than_those_of_libjpeg() -> None:
    samples = _samples((256, 256), 12, "smooth", 3)
    other = imagecodecs.jpeg8_encode(samples, lossless=True, predictor=1, bitspersample=12)
    assert len(encode(samples, 12, b"\1")) <= len(other)


@given(st.lists(st.integers(0, 1 << 40), min_size=17, max_size=17).filter(any))
def test_code_lengths_fit_and_leave_a_code_free(counts: list[int]) -> None:
    lengths, symbols = huffman_lengths(counts)
    assert sorted(symbols) == [symbol for symbol, count in enumerate(counts) if count]
    assert len(lengths) == 16 and sum(lengths) == len(symbols)
    # All ones stay free, so less than the whole room is taken (Kraft).
    assert sum(count << (16 - length) for length, count in enumerate(lengths, 1)) < 1 << 16
    often = [counts[symbol] for symbol in symbols]
    at = dict(zip(symbols, _each_length(lengths), strict=True))
    assert all(at[one] <= at[other] for one in at for other in at if counts[one] > counts[other]), (
        often
    )


def test_codes_that_would_be_too_long_are_shortened() -> None:
    fibonacci = [1, 1]
    while len(fibonacci) < 17:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    lengths, symbols = huffman_lengths(fibonacci)
    assert sum(lengths) == len(symbols) == 17
    assert sum(count << (16 - length) for length, count in enumerate(lengths, 1)) < 1 << 16


def _each_length(lengths: list[int]) -> list[int]:
    return [length for length, count in enumerate(lengths, 1) for _ in range(count)]
