"""Image Pixel modules whose pixels are known: made of numbers, then packed (PS3.3 C.7.6.3)."""

import sys
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tests.generated.elements import Element, text, us

Values = npt.NDArray[np.int64]
FILLS = ("noise", "ramp", "flat", "extremes")


@dataclass(frozen=True)
class Overlay:
    """An overlay plane (PS3.3 C.9.2): in one bit of the pixels, or apart if that is None."""

    group: int
    bit: int | None


@dataclass(frozen=True)
class Image:
    """The Image Pixel Module, and pixels of a seed.

    Attributes:
        junk: the bits that are neither value nor overlay hold anything.
        frames_text: Number of Frames as written; None leaves it out.
        wide: 8 bits and less are written within OW.
        surplus: words of 8 bytes after the last frame.
    """

    rows: int = 4
    columns: int = 4
    frames: int = 1
    samples: int = 1
    photometric: str = "MONOCHROME2"
    planar: int = 0
    allocated: int = 8
    stored: int = 8
    high_bit: int = 7
    signed: bool = False
    is_float: bool = False
    fill: str = "noise"
    seed: int = 0
    junk: bool = False
    overlays: tuple[Overlay, ...] = ()
    frames_text: str | None = "1"
    wide: bool = False
    surplus: int = 0

    @property
    def is_gray(self) -> bool:
        """The samples are gray values."""
        return self.photometric in ("MONOCHROME1", "MONOCHROME2")

    @property
    def bounds(self) -> tuple[int, int]:
        """The smallest and the largest value that Bits Stored allow."""
        half = 1 << (self.stored - 1)
        return (-half, half - 1) if self.signed else (0, 2 * half - 1)

    @cached_property
    def values(self) -> Values:
        """The stored values, (frames, rows, columns, samples); floats for Float Pixel Data."""
        shape = (self.frames, self.rows, self.columns, self.samples)
        dice = np.random.default_rng(self.seed)
        low, high = self.bounds
        if self.is_float:
            return self._floats(shape, dice)
        if self.fill == "noise":
            found = dice.integers(low, high, shape, np.int64, endpoint=True)
        elif self.fill == "ramp":
            steps = np.arange(self.rows * self.columns).reshape(1, self.rows, self.columns, 1)
            scaled = low + (high - low) * steps // max(1, self.rows * self.columns - 1)
            found = np.broadcast_to(scaled, shape).copy()
        elif self.fill == "flat":
            found = np.full(shape, int(dice.integers(low, high, endpoint=True)), np.int64)
        else:
            found = np.where(dice.random(shape) < 0.5, low, high).astype(np.int64)
        if self.photometric == "YBR_FULL_422":  # one Cb and one Cr for two pixels
            found[:, :, 1::2, 1:] = found[:, :, 0::2, 1:]
        return found

    def _floats(self, shape: tuple[int, ...], dice: np.random.Generator) -> Values:
        found = dice.normal(0, 100, shape)
        if self.fill == "extremes":
            found = np.where(dice.random(shape) < 0.3, np.nan, found)
            found = np.where(dice.random(shape) < 0.2, np.inf, found)
        elif self.fill == "flat":
            found = np.full(shape, 3.5)
        return found.astype(f"f{self.allocated // 8}").astype(np.float64)  # type: ignore[return-value]

    @cached_property
    def words(self) -> npt.NDArray[np.uint64]:
        """Whole words, (frames, rows, columns, samples): values, overlays, and what is neither."""
        mask = (1 << self.stored) - 1
        shift = self.high_bit + 1 - self.stored
        words = (self.values & mask).astype(np.uint64) << np.uint64(shift)
        dice = np.random.default_rng(self.seed + 1)
        if self.junk:
            free = ((1 << self.allocated) - 1) & ~(mask << shift)
            noise = dice.integers(0, 2**63, words.shape, np.uint64)
            words |= noise & np.uint64(free)
        for overlay in self.overlays:
            if overlay.bit is not None:
                words &= ~np.uint64(1 << overlay.bit)
                words |= self.plane(overlay)[..., None].astype(np.uint64) << np.uint64(overlay.bit)
        return words

    def plane(self, overlay: Overlay) -> npt.NDArray[np.uint8]:
        """The bits of an overlay, (frames, rows, columns)."""
        dice = np.random.default_rng([self.seed, overlay.group])
        return dice.integers(0, 2, (self.frames, self.rows, self.columns), np.uint8)

    def frame_bytes(self, index: int) -> bytes:
        """A native frame in little endian, of single bits padded to a byte."""
        if self.is_float:
            return self.values[index].astype(f"<f{self.allocated // 8}").tobytes()
        words = self.words[index]
        if self.allocated == 1:
            return np.packbits(words.astype(np.uint8).reshape(-1), bitorder="little").tobytes()
        typed = words.astype(f"<u{self.allocated // 8}")
        if self.photometric == "YBR_FULL_422":
            pairs = typed.reshape(-1, 6)
            return np.ascontiguousarray(pairs[:, [0, 3, 1, 2]]).tobytes()
        if self.samples > 1 and self.planar:
            typed = np.ascontiguousarray(typed.transpose(2, 0, 1))
        return typed.tobytes()

    def native(self) -> bytes:
        """The value of native Pixel Data in little endian."""
        if self.allocated == 1:
            bits = self.words.astype(np.uint8).reshape(-1)
            data = np.packbits(bits, bitorder="little").tobytes()
        else:
            data = b"".join(self.frame_bytes(index) for index in range(self.frames))
        return data + bytes(len(data) % 2) + b"\x55\xaa" * 4 * self.surplus

    def elements(self, photometric: str | None = None) -> list[Element]:
        """The attributes; the pixels themselves are not among them."""
        found = [
            us(0x00280002, self.samples),
            text(0x00280004, "CS", photometric or self.photometric),
            us(0x00280010, self.rows),
            us(0x00280011, self.columns),
            us(0x00280100, self.allocated),
        ]
        if not self.is_float:
            found += [us(0x00280101, self.stored), us(0x00280102, self.high_bit)]
            found += [us(0x00280103, int(self.signed))]
        if self.samples > 1:
            found.append(us(0x00280006, self.planar))
        if self.frames_text is not None:
            found.append(text(0x00280008, "IS", self.frames_text))
        for overlay in self.overlays:
            found += self._overlay(overlay)
        return found

    def _overlay(self, overlay: Overlay) -> list[Element]:
        base = overlay.group << 16
        found = [
            us(base | 0x0010, self.rows),
            us(base | 0x0011, self.columns),
            text(base | 0x0040, "CS", "G"),
            us(base | 0x0050, 1, 1, vr="SS"),
            us(base | 0x0100, 1 if overlay.bit is None else self.allocated),
            us(base | 0x0102, overlay.bit or 0),
        ]
        if self.frames > 1:
            found.append(text(base | 0x0015, "IS", str(self.frames)))
        if overlay.bit is None:
            packed = np.packbits(self.plane(overlay).reshape(-1), bitorder="little").tobytes()
            found.append(Element(base | 0x3000, "OW", packed + bytes(len(packed) % 2)))
        return found


assert sys.byteorder == "little"
