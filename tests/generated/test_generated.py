"""Files of every odd kind become what they should in every form, or fail alone.

DICOMFERRY_GENERATED   how many files (default 500; a nightly run takes 100,000)
DICOMFERRY_FAULT_SEED  another seed, another set of files
"""

import os

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from dicomferry.pixels.formats import FORMATS
from tests.generated.case import Case
from tests.generated.checks import check
from tests.generated.finds import FINDS
from tests.generated.strategies import cases

FILES = int(os.environ.get("DICOMFERRY_GENERATED", "500"))
SEED = int(os.environ.get("DICOMFERRY_FAULT_SEED") or 0)
SOME_FORMS = st.lists(
    st.sampled_from([each.mime_type for each in FORMATS]), min_size=2, max_size=4, unique=True
)
SETTINGS = settings(
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate, Phase.shrink),
)


@seed(SEED)
@settings(SETTINGS, max_examples=FILES * 7 // 10)
@given(cases(), SOME_FORMS)
def test_legal_files_become_what_they_should(case: Case, forms: list[str]) -> None:
    check(case, forms)


@seed(SEED)
@settings(SETTINGS, max_examples=FILES * 3 // 10)
@given(cases(legal=False), SOME_FORMS)
def test_illegal_files_become_something_readable_or_fail_alone(
    case: Case, forms: list[str]
) -> None:
    check(case, forms)


@pytest.mark.parametrize("case", FINDS, ids=lambda case: case.end)
def test_past_finds_stay_fixed_in_every_form(case: Case) -> None:
    check(case, [each.mime_type for each in FORMATS])
