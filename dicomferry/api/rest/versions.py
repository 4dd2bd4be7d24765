"""Versions of the published API: v1beta1 and v1alpha2 have the methods of v1, which this service
answers in the same way, with the names of types and methods that the version has.

`gcloud beta` and `gcloud alpha` call them.
"""

from typing import Any

IN_PATHS = "/(?:v1|v1beta1|v1alpha2)/"
_PREFIX = "google.cloud.healthcare."
_NAMES = ("@type", "apiMethodName")


def in_version(content: Any, path: str) -> Any:
    """Return an answer of v1, in proto JSON, as it is in the version that a path names."""
    version = path.split("/")[1]
    return content if version == "v1" else _renamed(content, f"{_PREFIX}{version}.")


def _renamed(content: Any, prefix: str) -> Any:
    if isinstance(content, list):
        return [_renamed(each, prefix) for each in content]
    if not isinstance(content, dict):
        return content
    return {
        key: value.replace(f"{_PREFIX}v1.", prefix, 1) if key in _NAMES else _renamed(value, prefix)
        for key, value in content.items()
    }
