"""Native YBR_FULL_422, as it should be and as some write it (PS3.3 C.7.6.3.1.2)."""

import numpy as np
import pytest

from dicomferry.errors import InstanceError
from tests.pixels.instances import color, data_set, outputs, part10, read, to_dicom

ENDS = [".5", ".4.80", ".4.90", ".8.1"]
RAW = "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"


def frames(shape: tuple[int, int], count: int = 1) -> np.ndarray:
    """YBR samples whose pairs in a row have the same Cb and Cr; an odd last pixel its own."""
    ybr = np.stack([np.roll(color(shape), index, axis=0) for index in range(count)])
    ybr[..., 1::2, 1:] = ybr[..., 0 : shape[1] // 2 * 2 : 2, 1:]
    return ybr


def pairs_of(rows: np.ndarray) -> bytes:
    """Y Y Cb Cr of lines of samples; the last pixel of an odd line is its own pair."""
    lines = []
    for row in rows:
        for first in range(0, len(row), 2):
            second = min(first + 1, len(row) - 1)
            lines.append(bytes((row[first][0], row[second][0], row[first][1], row[first][2])))
    return b"".join(lines)


def file_of(ybr: np.ndarray, data: bytes, **attributes: int) -> bytes:
    count = len(ybr)
    ds = data_set(ybr, samples=3, frames=count, PhotometricInterpretation="YBR_FULL_422")
    if count == 1:
        del ds.NumberOfFrames
    ds.PixelData = data + bytes(len(data) % 2)
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return part10(ds)


def decoded(data: bytes, end: str) -> np.ndarray:
    """Samples after a way through `end`, none of them turned into another color space."""
    ds = read(to_dicom(to_dicom(data, end), ".1"))
    assert ds.PhotometricInterpretation == "YBR_FULL"
    shape = (int(ds.get("NumberOfFrames", 1)), ds.Rows, ds.Columns, 3)
    return np.frombuffer(ds.PixelData, np.uint8, count=int(np.prod(shape))).reshape(shape)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("shape", [(4, 6), (3, 3), (5, 7), (4, 5), (1, 1), (2, 1)])
@pytest.mark.parametrize("count", [1, 3])
def test_a_pair_is_of_one_row(shape: tuple[int, int], count: int, end: str) -> None:
    ybr = frames(shape, count)
    data = file_of(ybr, b"".join(pairs_of(frame) for frame in ybr))
    assert np.array_equal(decoded(data, end), ybr)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("shape", [(4, 6), (3, 3), (8, 5)])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_three_bytes_a_pixel_are_taken_as_they_are(
    shape: tuple[int, int], count: int, planar: int, end: str
) -> None:
    ybr = np.stack([np.roll(color(shape), index, axis=1) for index in range(count)])
    stored = ybr.transpose(0, 3, 1, 2) if planar else ybr
    data = file_of(ybr, np.ascontiguousarray(stored).tobytes(), PlanarConfiguration=planar)
    assert np.array_equal(decoded(data, end), ybr)
    raw = b"".join(each for _, each in outputs(data, RAW))
    assert raw == np.ascontiguousarray(stored).tobytes()


def test_pairs_that_go_on_in_the_next_row_are_read_too() -> None:
    """Some writers know no rows: 4 rows of 5 are 10 pairs, not 12."""
    line = frames((1, 20))
    data = file_of(line.reshape(1, 4, 5, 3), pairs_of(line[0]))
    assert np.array_equal(decoded(data, ".5"), line.reshape(1, 4, 5, 3))


@pytest.mark.parametrize("missing", [1, 2, 8])
def test_what_is_shorter_than_its_pairs_is_refused(missing: int) -> None:
    ybr = frames((4, 6))
    data = file_of(ybr, pairs_of(ybr[0])[: -2 * missing])
    for end in ENDS:
        with pytest.raises(InstanceError, match="PIXEL_DATA_TRUNCATED"):
            to_dicom(data, end)
