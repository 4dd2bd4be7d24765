"""Request preconditions of Cloud Storage, which fake-gcs-server honors in a few places only.

The JSON API takes them as query parameters, the XML API as headers. A generation of 0 stands for
"there is no live object", so `ifGenerationMatch=0` is create-only.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web


@dataclass(frozen=True)
class Version:
    """The live version of an object; generation 0 where there is none."""

    generation: int
    etag: str


ABSENT = Version(0, "")


@dataclass(frozen=True)
class Preconditions:
    """What a request demands of the live version."""

    generation_match: int | None = None
    generation_not_match: int | None = None
    etag_match: str | None = None
    etag_none_match: str | None = None

    def __bool__(self) -> bool:
        return self != Preconditions()

    def failure(self, version: Version, *, reading: bool) -> int | None:
        """Return the status with which to refuse, None to go on.

        304 stands for "what you have is still right" and is given to readers only.
        """
        if self.generation_match not in (None, version.generation):
            return 412
        if self.etag_match is not None and not _etag_is(self.etag_match, version):
            return 412
        if self.generation_not_match == version.generation or (
            self.etag_none_match is not None and _etag_is(self.etag_none_match, version)
        ):
            return 304 if reading else 412
        return None


def _etag_is(wanted: str, version: Version) -> bool:
    if version == ABSENT:
        return False
    return wanted.strip() == "*" or version.etag in {
        each.strip().removeprefix("W/").strip('"') for each in wanted.split(",")
    }


def of_json(query: Mapping[str, str], *, source: bool = False) -> Preconditions:
    """Return what the JSON API's query asks of the object, or of the source of a rewrite."""
    prefix = "ifSourceGeneration" if source else "ifGeneration"
    _refuse_metageneration(query)
    return Preconditions(
        generation_match=_generation(query.get(f"{prefix}Match")),
        generation_not_match=_generation(query.get(f"{prefix}NotMatch")),
    )


def of_xml(headers: Mapping[str, str]) -> Preconditions:
    """Return what the XML API's headers ask of the object."""
    _refuse_metageneration(headers)
    return Preconditions(
        generation_match=_generation(headers.get("x-goog-if-generation-match")),
        etag_match=headers.get("If-Match"),
        etag_none_match=headers.get("If-None-Match"),
    )


def of_xml_source(headers: Mapping[str, str]) -> Preconditions:
    """Return what the XML API's headers ask of the source of a copy."""
    return Preconditions(
        generation_match=_generation(headers.get("x-goog-copy-source-if-generation-match")),
        etag_match=headers.get("x-goog-copy-source-if-match"),
        etag_none_match=headers.get("x-goog-copy-source-if-none-match"),
    )


def _generation(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit():
        raise web.HTTPBadRequest(text=f"a generation is a number, not {text!r}")
    return int(text)


def _refuse_metageneration(names: Mapping[str, str]) -> None:
    for name in names:
        if "metageneration" in name.lower().replace("-", ""):
            raise web.HTTPNotImplemented(text=f"{name} is not emulated")
