"""Data sets of any kind, as pydicom builds them and as a broken file may make them."""

from hypothesis import strategies as st
from pydicom import config
from pydicom.datadict import keyword_dict
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.valuerep import PersonName

VRS = (  # PS3.5, Table 6.2-1
    *("AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "OB", "OD", "OF"),
    *("OL", "OV", "OW", "PN", "SH", "SL", "SQ", "SS", "ST", "SV", "TM", "UC", "UI", "UL", "UN"),
    *("UR", "US", "UT", "UV"),
)
# What makes a file an instance, and its pixels, is not for these tests to break.
_GIVEN = {0x00080005, 0x00080016, 0x00080018, 0x0020000D, 0x0020000E}


def _is_free(tag):
    return 0x0008 <= tag >> 16 < 0x7FE0 and tag & 0xFFFF != 0 and tag not in _GIVEN


_STANDARD = sorted(tag for tag in keyword_dict.values() if _is_free(tag))
_TAGS = st.one_of(
    st.sampled_from(_STANDARD),
    st.builds(
        lambda group, low: group << 16 | low,
        st.sampled_from((9, 0x29)),
        st.integers(0x1000, 0x10FF),
    ),
    st.builds(
        lambda group, low: group << 16 | low,
        st.sampled_from((0x5000, 0x6000, 0x6002)),
        st.sampled_from((0x10, 0x11, 0x22, 0x30, 0x50, 0x1301)),
    ),
    st.integers(0x00080001, 0x7FDFFFFF).filter(_is_free),
)
_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cc",), exclude_characters="\\^="))
_ASCII = st.text(st.characters(codec="ascii", exclude_categories=("Cc",), exclude_characters="\\"))
_DIGITS = st.text("0123456789.:+- ", max_size=26)
_NAMES = st.lists(st.lists(_TEXT, max_size=6).map("^".join), max_size=3).map("=".join)


def _several(one, most=3):
    return st.one_of(one, st.lists(one, max_size=most))


_BITS = {"US": (0, 16), "SS": (1, 16), "UL": (0, 32), "SL": (1, 32), "UV": (0, 64), "SV": (1, 64)}
_VALUES = {
    **{vr: _several(_TEXT) for vr in ("LO", "SH", "UC")},
    **{vr: _several(_ASCII) for vr in ("AE", "CS")},
    **dict.fromkeys(("LT", "ST", "UT"), _TEXT),
    "UR": _ASCII,
    **{vr: _several(_DIGITS) for vr in ("DA", "TM", "DT", "AS")},
    "UI": _several(st.text("0123456789.", max_size=64)),
    "DS": _several(st.decimals(-(10**9), 10**9, places=3).map(str)),
    "IS": _several(st.integers(-(2**31), 2**31 - 1).map(str)),
    "PN": _several(_NAMES.map(PersonName)),
    "FD": _several(st.floats()),
    "FL": _several(st.floats(width=32)),
    "AT": _several(st.integers(0, 2**32 - 1)),
    **{
        vr: _several(
            st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
            if signed
            else st.integers(0, 2**bits - 1)
        )
        for vr, (signed, bits) in _BITS.items()
    },
    **{
        vr: st.binary(max_size=4).map(lambda b: b * 8)
        for vr in ("OB", "OD", "OF", "OL", "OV", "OW", "UN")
    },
}


# pydicom writes UN of a tag that it knows as if the tag's own VR were given.
_WRITTEN_VRS = st.sampled_from([vr for vr in VRS if vr != "UN"])


def _data_set(elements):
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    for tag, vr, value in elements:
        converted = Sequence(value) if vr == "SQ" else value
        as_text = vr in ("DA", "TM", "DT")  # else pydicom refuses those that are none
        dataset[tag] = DataElement(tag, vr, converted, config.IGNORE, already_converted=as_text)
    return dataset


def _elements(items):
    return st.lists(
        st.tuples(_TAGS, _WRITTEN_VRS).flatmap(
            lambda pair: st.tuples(
                st.just(pair[0]),
                st.just(pair[1]),
                items if pair[1] == "SQ" else _VALUES[pair[1]],
            )
        ),
        max_size=6,
    ).map(_data_set)


def data_sets():
    """Data sets that pydicom builds, sequences in them; any VR for any tag."""
    return st.recursive(
        _elements(st.just([])), lambda inner: _elements(st.lists(inner, max_size=3)), max_leaves=6
    )


_JSON_VALUES = st.one_of(
    st.none(),
    _TEXT,
    _DIGITS,
    st.integers(-(2**64), 2**64),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(("NaN", "inf", "-inf", "20260101", "101112", "0008103E")),
    st.dictionaries(st.sampled_from(("Alphabetic", "Ideographic", "Phonetic")), _TEXT),
)
_TAG_KEYS = _TAGS.map(lambda tag: f"{tag:08X}")


def _json_element(items):
    plain = st.one_of(
        st.fixed_dictionaries({"vr": st.sampled_from(VRS).filter(lambda vr: vr != "SQ")}),
        st.fixed_dictionaries(
            {
                "vr": st.sampled_from(VRS).filter(lambda vr: vr != "SQ"),
                "Value": st.lists(_JSON_VALUES, max_size=3),
            }
        ),
        st.fixed_dictionaries(
            {"vr": st.sampled_from(VRS), "BulkDataURI": st.just("?offset=1&length=2")}
        ),
    )
    return st.one_of(
        plain, st.fixed_dictionaries({"vr": st.just("SQ"), "Value": st.lists(items, max_size=3)})
    )


def metadata():
    """DICOM JSON with any value under any VR and tag."""
    return st.recursive(
        st.dictionaries(_TAG_KEYS, _json_element(st.just({})), max_size=5),
        lambda inner: st.dictionaries(_TAG_KEYS, _json_element(inner), max_size=5),
        max_leaves=8,
    )
