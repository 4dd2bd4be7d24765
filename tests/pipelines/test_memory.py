"""An import of many parts must not grow with their number."""

import pyarrow as pa
import pytest

from dicomferry.pipelines import memory


@pytest.fixture
def arrow_pool():
    pool = pa.default_memory_pool()
    yield
    pa.set_memory_pool(pool)


def resident_mib() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096 >> 20


def test_what_was_freed_between_blocks_still_in_use_goes_back(arrow_pool):
    memory.keep_flat()
    before = resident_mib()
    blocks = [bytes([number % 256]) * 100_000 for number in range(2_000)]
    taken = resident_mib() - before
    kept = blocks[::100]
    del blocks
    memory.give_back()
    assert taken > 150
    assert resident_mib() - before < 50
    assert len(kept) == 20
