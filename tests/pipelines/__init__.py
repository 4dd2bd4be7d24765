"""Whole jobs. DICOMFERRY_TEST_RUNNER names what runs those that name no runner themselves."""

import os

if _RUNNER := os.environ.get("DICOMFERRY_TEST_RUNNER"):
    from dicomferry.pipelines import options

    options._DEFAULT_RUNNER = _RUNNER
