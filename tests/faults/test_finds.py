"""Past finds of the fuzzer stay fixed; a short run of mutants, without it, goes with them."""

import os
import random
import subprocess
import sys
from pathlib import Path

import imagecodecs
import pytest

from dicomferry.dicom.dicom_file import open_file
from dicomferry.dicom.range_reader import BytesReader
from dicomferry.dicom.transfer_syntaxes import SYNTAXES
from dicomferry.errors import InstanceError
from dicomferry.pixels.codecs import htj2k
from dicomferry.pixels.codecs.htj2k_header import check_segments
from dicomferry.pixels.frames import EncapsulatedFrames
from dicomferry.pixels.image_pixel import read_image
from tests.dicom.test_hostile import mutate
from tests.faults.targets import DECODED, TARGETS, finds
from tests.pixels.fuzz import peak_mib
from tests.pixels.instances import data_set, gray, part10, to_dicom

HTJ2K = open_file(BytesReader(to_dicom(part10(data_set(gray((64, 64), 12), 12)), ".4.201")))
REPOSITORY = Path(__file__).parents[2]
MUTANTS = int(os.environ.get("DICOMFERRY_FAULT_MUTANTS", "150"))


def replay(name):
    """Run in a process of its own: a decoder that crashes is to be seen as that."""
    target = TARGETS[name]()
    dice = random.Random(name)
    seeds = target.seeds()
    inputs = [*seeds, *(path.read_bytes() for path in finds(name))]
    inputs += [mutate(dice.choice(seeds), dice) for _ in range(MUTANTS)]
    for data in inputs:
        target.run(data)
    print(len(inputs), peak_mib())


@pytest.mark.timeout(200)
@pytest.mark.parametrize("name", TARGETS)
def test_past_finds_and_mutants_end_as_results_or_refusals(name):
    program = f"from {__name__} import replay; replay({name!r})"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        check=False,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=190,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    inputs, peak = map(int, done.stdout.split())
    assert inputs >= MUTANTS
    assert peak < 700


def test_every_decoder_is_fuzzed():
    families = {syntax.family for syntax in SYNTAXES.values() if syntax.encapsulated}
    assert families <= DECODED.keys() | {""}


def test_a_picture_that_openjph_gave_up_on_is_none(monkeypatch):
    """Its errors are printed by the binding, which returns as much of a picture as there is."""
    image, uid = read_image(HTJ2K), HTJ2K.syntax.uid
    stream = next(iter(EncapsulatedFrames(HTJ2K, image)))
    dice, given_up = random.Random(1), 0
    for _ in range(2000):
        position = dice.randrange(stream.index(b"\xff\x93"), len(stream) - 2)
        broken = stream[:position] + bytes([dice.randrange(256)]) + stream[position + 1 :]
        complaints = []
        with monkeypatch.context() as patch:
            patch.setattr(sys, "unraisablehook", complaints.append)
            try:
                check_segments(broken)
                imagecodecs.htj2k_decode(broken)
            except (InstanceError, RuntimeError):
                continue
        if complaints:
            given_up += 1
            with pytest.raises(InstanceError, match="CODE_STREAM_INVALID"):
                htj2k.decode(broken, image, uid)
    assert given_up
