"""DICOM values as values of a column (DICOM PS3.5, Section 6.2).

Every function takes one value of the DICOM JSON model and returns the JSON form that a load of
newline-delimited JSON takes for the column, or `UNFIT`. Dates, times and instants are cached,
because neighboring instances share them.
"""

import datetime
import functools
import math
import re
from typing import Any, Final

UNFIT: Final = object()
"""The value does not fit a column of the type."""

_DATE = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})|([0-9]{4})\.([0-9]{2})\.([0-9]{2})")
_TIME = re.compile(
    r"([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:\.([0-9]{1,6}))?)?)?"
    r"|([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,6}))?)?"
)
_DATE_TIME = re.compile(
    r"([0-9]{4})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})"
    r"(?:\.([0-9]{1,6}))?)?)?)?)?)?([+-][0-9]{4})?"
)
_NON_FINITE = {
    "NaN": "NaN",
    "inf": "Infinity",
    "Infinity": "Infinity",
    "-inf": "-Infinity",
    "-Infinity": "-Infinity",
}
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_COMPONENTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")


def string_of(value: Any, _zone: str) -> Any:
    """STRING: any value, as its text."""
    return text_of(value)


def integer_of(value: Any, _zone: str) -> Any:
    """INTEGER: a whole number of 64 bits."""
    fits = type(value) is int and -(1 << 63) <= value < 1 << 63
    return value if fits else UNFIT


def tag_of(value: Any, _zone: str) -> Any:
    """INTEGER: the number of an attribute tag, given as eight hexadecimal digits (AT)."""
    fits = isinstance(value, str) and re.fullmatch("[0-9A-Fa-f]{8}", value)
    return int(value, 16) if fits else UNFIT


def float_of(value: Any, _zone: str) -> Any:
    """FLOAT: a number; NaN and infinities by the names that loads take."""
    if isinstance(value, float):
        return value if math.isfinite(value) else _NON_FINITE[repr(value).replace("nan", "NaN")]
    if type(value) is int:
        return float(value)
    return _NON_FINITE.get(value, UNFIT) if isinstance(value, str) else UNFIT


def date_of(value: Any, _zone: str) -> Any:
    """DATE: YYYYMMDD, or YYYY.MM.DD of older versions of the Standard; partial dates do not fit."""
    return _date(value) if isinstance(value, str) else UNFIT


def time_of(value: Any, _zone: str) -> Any:
    """TIME: HH, HHMM, HHMMSS or HHMMSS.F, with colons as in older versions of the Standard.

    Missing components are zero. A leap second (60) does not fit a TIME.
    """
    return _time(value) if isinstance(value, str) else UNFIT


def timestamp_of(value: Any, zone: str) -> Any:
    """TIMESTAMP: YYYY[MM[DD[HH[MM[SS[.F]]]]]][&ZZXX], as an instant in UTC.

    Missing components are the first possible: 2001 is the first instant of 2001. Without an
    offset of its own the value is in `zone`.
    """
    return _timestamp(value, zone) if isinstance(value, str) else UNFIT


def person_name_of(value: Any, _zone: str) -> Any:
    """RECORD: at most five components of each group (DICOM PS3.5, Section 6.2.1)."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        return UNFIT
    name: dict[str, dict[str, str]] = {}
    for group in _GROUPS:
        text = value.get(group)
        if not text:
            continue
        components = text.split("^")
        if len(components) > len(_COMPONENTS):
            return UNFIT
        name[group] = {k: v for k, v in zip(_COMPONENTS, components, strict=False) if v}
    return name


def text_of(value: Any) -> str:
    """Return a value of the DICOM JSON model as text; a name as its groups, joined by '='."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, dict):
        return "=".join(value.get(group) or "" for group in _GROUPS).rstrip("=")
    return str(value)


def zone_of(values: list[Any] | None) -> str:
    """Return Timezone Offset From UTC (0008,0201) if it is valid, else that of UTC."""
    text = str(values[0]).strip() if values else ""
    return text if _offset(text) is not None else "+0000"


def _offset(text: str) -> datetime.timedelta | None:
    if not re.fullmatch("[+-][0-9]{4}", text):
        return None
    minutes = int(text[1:3]) * 60 + int(text[3:])
    signed = -minutes if text[0] == "-" else minutes
    if int(text[3:]) > 59 or not -12 * 60 <= signed <= 14 * 60:
        return None
    return datetime.timedelta(minutes=signed)


@functools.lru_cache(maxsize=1 << 14)
def _date(text: str) -> Any:
    match = _DATE.fullmatch(text.strip())
    if match is None:
        return UNFIT
    year, month, day = (int(part) for part in match.groups() if part is not None)
    try:
        return datetime.date(year, month, day).isoformat()
    except ValueError:
        return UNFIT


@functools.lru_cache(maxsize=1 << 16)
def _time(text: str) -> Any:
    match = _TIME.fullmatch(text.strip())
    if match is None:
        return UNFIT
    parts = match.groups()[:4] if match[1] else match.groups()[4:]
    hour, minute, second = (int(part or 0) for part in parts[:3])
    try:
        return datetime.time(hour, minute, second, _microseconds(parts[3])).isoformat()
    except ValueError:
        return UNFIT


@functools.lru_cache(maxsize=1 << 16)
def _timestamp(text: str, zone: str) -> Any:
    match = _DATE_TIME.fullmatch(text.strip())
    if match is None:
        return UNFIT
    offset = _offset(match[8] or zone)
    if offset is None:
        return UNFIT
    year, month, day = (int(part or 1) for part in match.groups()[:3])
    hour, minute, second = (int(part or 0) for part in match.groups()[3:6])
    try:
        local = datetime.datetime(year, month, day, hour, minute, second, _microseconds(match[7]))
        return (local - offset).isoformat() + "Z"
    except (ValueError, OverflowError):  # OverflowError: before year 1 or after 9999 in UTC
        return UNFIT


def _microseconds(fraction: str | None) -> int:
    return int(fraction.ljust(6, "0")) if fraction else 0
