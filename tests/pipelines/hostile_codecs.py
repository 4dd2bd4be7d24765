"""What worker processes run where a codec shall crash or hang: the real one with a trap."""

import os
import signal
import time

from dicomferry.pixels.codecs import rle
from dicomferry.transforms import write_instance

CRASH, HANG = b"CRASH", b"HANGS"
_decode = rle.decode


def write_all(instances, target):
    """As the real one; RLE streams with a mark in them do harm."""
    rle.decode = decode
    return write_instance.write_all(instances, target)


def decode(stream, image, syntax):
    if CRASH in stream:
        os.kill(os.getpid(), signal.SIGSEGV)
    if HANG in stream:
        time.sleep(600)
    return _decode(stream, image, syntax)
