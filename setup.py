"""What Beam's `--setup_file` ships to workers; all metadata stands in pyproject.toml."""

from setuptools import setup

setup()
