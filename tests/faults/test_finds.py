"""Past finds of the fuzzer stay fixed; a short run of mutants, without it, goes with them."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.targets import DECODED, TARGETS, finds
from tests.headers.test_hostile import mutate
from tests.transcode.fuzz import peak_mib

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
    from transcode.syntaxes import SYNTAXES

    families = {syntax.family for syntax in SYNTAXES.values() if syntax.encapsulated}
    assert families <= DECODED.keys() | {""}
