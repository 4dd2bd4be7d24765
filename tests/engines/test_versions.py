"""Engines are of the version that the SDK speaks."""

import apache_beam

from tests.engines.prism import REPOSITORY


def test_prism_is_built_from_the_version_of_the_sdk():
    modules = (REPOSITORY / "tests/engines/go.mod").read_text()
    assert f"github.com/apache/beam/sdks/v2 v{apache_beam.__version__} " in modules
