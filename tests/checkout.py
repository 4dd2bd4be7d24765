"""A copy of this checkout: builds write into the folder of setup.py, and must not write here."""

import shutil
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
_FILES = ("setup.py", "pyproject.toml", "README.md", "LICENSE")
_FOLDERS = ("dicomferry", "pipelines", "transforms")


def copy_checkout(folder):
    """Copy what makes the package, links as links, without anything compiled."""
    for name in _FILES:
        shutil.copy(REPOSITORY / name, folder)
    ignored = shutil.ignore_patterns("__pycache__", "*.so", "*.egg-info")
    for name in _FOLDERS:
        shutil.copytree(REPOSITORY / name, folder / name, symlinks=True, ignore=ignored)
    return folder
