"""Whatever the bytes are, a file ends as a header or as an InstanceError, and alike both ways.

Read from memory and by ranges the same file must come to the same end.
"""

import json
import random
from pathlib import Path

import pydicom.data
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomferry.dicom.encoding import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from dicomferry.dicom.header import Header, read_header
from dicomferry.dicom.range_reader import BytesReader
from dicomferry.errors import InstanceError
from tests.dicom.factories import (
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    Ranges,
    element,
    identity,
    item,
    part10,
    sequence,
)

MUTANTS = 3000
MAX_SEED = 12_000
TELLING = [  # values that lengths, tags and VRs must be robust against
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\xfe\xff\x00\xe0",
    b"\xfe\xff\x0d\xe0",
    b"\xfe\xff\xdd\xe0",
    b"\xe0\x7f\x10\x00",
    b"SQ\0\0",
    b"UN\0\0",
    b"ZZ\0\0",
    b"\x1b$B\\",
]


def outcome(file: bytes) -> Header | str:
    """Return the header or the code, after checking that both ways of reading agree."""
    results: list[Header | str] = []
    for readable in (BytesReader(file), Ranges(file)):
        try:
            results.append(read_header(readable))
        except InstanceError as error:
            results.append(error.code)
    assert results[0] == results[1]
    return results[0]


def seeds() -> list[bytes]:
    folder = Path(pydicom.data.__file__).parent
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    real = [path.read_bytes() for path in files if path.stat().st_size <= MAX_SEED]
    nested = identity() + sequence(
        0x00400260,
        item(sequence(0x00400260, item(element(0x00080100, "SH", "A")), undefined=True)),
        undefined=True,
    )
    private = identity(encoding=IMPLICIT_LITTLE) + element(
        0x00290010, "LO", "SIEMENS CSA HEADER", IMPLICIT_LITTLE
    )
    return [
        *real,
        part10(nested),
        part10(nested, DEFLATED),
        part10(private + element(0x00291008, "CS", "X ", IMPLICIT_LITTLE), IMPLICIT),
    ]


def mutate(file: bytes, dice: random.Random) -> bytes:
    mutant = bytearray(file)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(mutant))
        match dice.randrange(5):
            case 0:
                mutant[at] = dice.randrange(256)
            case 1:
                value = dice.choice(TELLING)
                mutant[at : at + len(value)] = value
            case 2:
                del mutant[at : at + dice.randint(1, 16)]
            case 3:
                mutant[at:at] = mutant[at : at + dice.randint(1, 32)]
            case 4:
                del mutant[max(at, 140) :]
        if not mutant:
            break
    return bytes(mutant)


def test_mutated_files_end_as_header_or_instance_error() -> None:
    dice = random.Random(20240229)
    originals = seeds()
    assert len(originals) > 50
    ends: dict[str, int] = {}
    for _ in range(MUTANTS):
        result = outcome(mutate(dice.choice(originals), dice))
        if isinstance(result, Header):
            json.loads(result.metadata)
        end = result if isinstance(result, str) else "header"
        ends[end] = ends.get(end, 0) + 1
    # The mutations reach deep: without that the test would show nothing.
    assert ends["header"] > MUTANTS / 10
    assert {"TRUNCATED", "MALFORMED", "NOT_DICOM", "MISSING_STUDY_INSTANCE_UID"} <= ends.keys()


@given(noise=st.binary(max_size=200), prefix=st.sampled_from([b"", bytes(128) + b"DICM"]))
@settings(max_examples=500, deadline=None, derandomize=True)
def test_noise_is_an_instance_error(noise: bytes, prefix: bytes) -> None:
    assert isinstance(outcome(prefix + noise), str)


@given(noise=st.binary(max_size=200))
@settings(max_examples=500, deadline=None, derandomize=True)
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, DEFLATED])
def test_noise_after_an_identity_stays_within_bounds(syntax: str, noise: bytes) -> None:
    encoding = IMPLICIT_LITTLE if syntax == IMPLICIT else EXPLICIT_LITTLE
    result = outcome(part10(identity(encoding=encoding) + noise, syntax))
    if isinstance(result, Header):
        json.loads(result.metadata)
