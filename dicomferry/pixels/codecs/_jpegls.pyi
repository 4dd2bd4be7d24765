from dicomferry.pixels.samples import Pixels

def encode_scan(samples: Pixels, depth: int, /) -> bytes:
    """Encode one component without loss; return the bytes of its scan (ITU-T T.87).

    Args:
        samples: (rows, columns), contiguous, unsigned, 8 or 16 bits.
        depth: bits that are used of each, 2 to 16.

    Raises:
        ValueError: they are not, or one is beyond the depth.
    """
