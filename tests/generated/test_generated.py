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


# Runs that several processes share, and that are short: hypothesis remembers all that it drew.
_RUN_FILES = 1_000


def runs(files: int) -> pytest.MarkDecorator:
    """Let a test draw this many files, in runs of at most 1,000, each with a seed of its own."""
    each = [min(_RUN_FILES, files - begun) for begun in range(0, files, _RUN_FILES)]
    return pytest.mark.parametrize(
        ("run_seed", "files"), [(SEED * 1_000_003 + run, count) for run, count in enumerate(each)]
    )


@runs(FILES * 7 // 10)
def test_legal_files_become_what_they_should(run_seed: int, files: int) -> None:
    @seed(run_seed)
    @settings(SETTINGS, max_examples=files)
    @given(cases(), SOME_FORMS)
    def draw(case: Case, forms: list[str]) -> None:
        check(case, forms)

    draw()


@runs(FILES * 3 // 10)
def test_illegal_files_become_something_readable_or_fail_alone(run_seed: int, files: int) -> None:
    @seed(run_seed)
    @settings(SETTINGS, max_examples=files)
    @given(cases(legal=False), SOME_FORMS)
    def draw(case: Case, forms: list[str]) -> None:
        check(case, forms)

    draw()


@pytest.mark.parametrize("case", FINDS, ids=lambda case: case.end)
def test_past_finds_stay_fixed_in_every_form(case: Case) -> None:
    check(case, [each.mime_type for each in FORMATS])
