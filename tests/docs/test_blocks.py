"""Tables that are written from the code are up to date."""

import pytest

from dicomferry.errors import Reason
from tests.docs import blocks


@pytest.mark.parametrize("block", blocks.BLOCKS)
def test_a_table_is_what_the_code_says(block):
    page, write = blocks.BLOCKS[block]
    _, within, _ = blocks.split((blocks.DOCS / page).read_text(), block)
    assert within == write(), "run: python -m tests.docs.blocks"


def test_every_reason_says_more_than_its_code():
    for reason in Reason:
        assert len(reason.sentence.split()) > 3
