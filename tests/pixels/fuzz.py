"""Feed damaged files to every codec; run as a program, so that a crash is seen as one.

python -m tests.pixels.fuzz FAMILY SEEDS
"""

import random
import struct
import sys
import warnings
from pathlib import Path

from dicomferry.errors import InstanceError
from tests.pixels.instances import color, data_set, gray, outputs, part10, to_dicom

TARGETS = [
    "application/dicom; transfer-syntax=1.2.840.10008.1.2.1",
    "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.80",
    "image/png",
    "application/octet-stream; transfer-syntax=*",
]


def damage(data: bytes, seed: int) -> bytes:
    """Truncate, flip, overwrite or repeat a part, mostly of the pixel data."""
    chance = random.Random(seed)
    # Half of the time the attributes are left alone, so that the codec is what is met.
    start = max(132, data.rfind(b"\xe0\x7f\x10\x00")) if seed % 2 else 132
    position = chance.randrange(start, len(data))
    result = bytearray(data)
    kind = seed % 5
    if kind == 0:
        del result[position:]
    elif kind == 1:
        for _ in range(chance.randrange(1, 12)):
            result[chance.randrange(start, len(data))] = chance.randrange(256)
    elif kind == 2:
        result[position : position + 4] = chance.choice(
            [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", struct.pack("<L", 1 << 30)]
        )
    elif kind == 3:
        size = chance.randrange(1, 64)
        result[position : position + size] = result[position : position + size] * 2
    else:
        result[position : position + chance.randrange(1, 200)] = b""
    return bytes(result)


def main(end: str, seeds: int) -> None:
    """Damage a gray and a color file `seeds` times each; print what came of it."""
    warnings.simplefilter("ignore")
    bits = 8 if end in (".4.50", ".4.112") else 12
    sources = [
        to_dicom(part10(data_set(gray((40, 50), bits), bits)), end),
        to_dicom(part10(data_set(color((40, 50)), samples=3)), end),
    ]
    counts = {"written": 0}
    for seed in range(seeds):
        data = damage(sources[seed % 2], seed)
        try:
            outputs(data, TARGETS[seed // 2 % len(TARGETS)])
            counts["written"] += 1
        except InstanceError as failure:
            counts[failure.code] = counts.get(failure.code, 0) + 1
    print(peak_mib(), counts)


def peak_mib() -> int:
    """Peak memory of this program; ru_maxrss would hold that of the process that started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
