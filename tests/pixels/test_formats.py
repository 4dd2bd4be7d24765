import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomferry.dicom.transfer_syntaxes import SYNTAXES
from dicomferry.pixels.convert import can_copy
from dicomferry.pixels.formats import (
    FORMATS,
    Format,
    UnsupportedFormat,
    parse_form,
    parse_format,
    source_rows,
)

SPACES = st.text(" \t", max_size=3)


@st.composite
def spellings(draw: st.DrawFn) -> tuple[Format, str]:
    """A format with one of the ways in which MIME lets it be written."""
    each = draw(st.sampled_from(FORMATS))
    flip = draw(st.randoms(use_true_random=False))

    def any_case(text: str) -> str:
        return "".join(flip.choice((char.upper(), char.lower())) for char in text)

    text = draw(SPACES) + any_case(each.media_type) + draw(SPACES)
    if each.transfer_syntax:
        name = any_case(draw(st.sampled_from(["transfer-syntax", "transferSyntax"])))
        value = each.transfer_syntax
        if draw(st.booleans()):
            value = f'"{draw(SPACES)}{value}{draw(SPACES)}"'
        text += f";{draw(SPACES)}{name}{draw(SPACES)}={draw(SPACES)}{value}{draw(SPACES)}"
    return each, text + draw(st.sampled_from(["", ";"]))


@given(spellings())
def test_any_spelling_that_mime_allows_means_the_same(case: tuple[Format, str]) -> None:
    expected, text = case
    assert parse_format(text) == expected


@given(st.text(max_size=60))
def test_whatever_is_written_is_either_a_format_or_refused_with_the_list(text: str) -> None:
    try:
        assert parse_format(text) in FORMATS
    except UnsupportedFormat as refusal:
        assert all(each.mime_type in str(refusal) for each in FORMATS)


def test_the_canonical_spelling_is_taken_back() -> None:
    for each in FORMATS:
        assert parse_format(each.mime_type) == each


@pytest.mark.parametrize("mime_type", [None, "", "  "])
def test_unset_is_as_uploaded(mime_type: str | None) -> None:
    assert parse_format(mime_type) == Format("application/dicom", "*", ".dcm", False)


def test_the_nine_forms_of_the_reference_have_their_extensions() -> None:
    forms = {
        "application/dicom; transfer-syntax=1.2.840.10008.1.2.1": ".dcm",
        "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.50": ".dcm",
        "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90": ".dcm",
        "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.91": ".dcm",
        "application/dicom; transfer-syntax=*": ".dcm",
        "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1": "",
        "application/octet-stream; transfer-syntax=*": "",
        "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50": ".jpg",
        "image/png": ".png",
    }
    assert {form: parse_format(form).extension for form in forms} == forms


@pytest.mark.parametrize(
    ("media_type", "default"),
    [
        ("application/dicom", "1.2.840.10008.1.2.1"),
        ("application/octet-stream", "1.2.840.10008.1.2.1"),
        ("image/jpeg", "1.2.840.10008.1.2.4.50"),
    ],
)
def test_a_type_alone_means_dicomwebs_default(media_type: str, default: str) -> None:
    expected = parse_format(f"{media_type}; transfer-syntax={default}")
    for text in (media_type, f"{media_type};", f" {media_type.upper()} "):
        assert parse_format(text) == expected


@pytest.mark.parametrize(
    "mime_type",
    [
        "application/dicom; transfer-syntax=",
        "application/dicom; transfer-syntax=1.2.840.10008.1.2.2",
        "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.92",
        "application/dicom+json",
        "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.4.90",
        "image/png; transfer-syntax=*",
        "image/gif",
        "image/png; quality=3",
        "application/dicom; transfer-syntax=*; transfer-syntax=*",
        "dicom",
    ],
)
def test_anything_else_is_refused(mime_type: str) -> None:
    with pytest.raises(UnsupportedFormat, match=r"Supported are"):
        parse_format(mime_type)


def test_flags_have_short_names_besides() -> None:
    dicom = "application/dicom; transfer-syntax=1.2.840.10008.1.2"
    forms = {
        "dicom": "application/dicom; transfer-syntax=*",
        "application/dicom": "application/dicom; transfer-syntax=*",
        "APPLICATION/DICOM;": "application/dicom; transfer-syntax=*",
        "": "application/dicom; transfer-syntax=*",
        "j2k": f"{dicom}.4.90",
        "jpegls": f"{dicom}.4.80",
        "htj2k": f"{dicom}.4.201",
        "png": "image/png",
        " PNG ": "image/png",
        "jpeg": "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50",
    }
    assert {form: parse_form(form).mime_type for form in forms} == forms
    assert all(parse_form(each.mime_type) == each for each in FORMATS)
    with pytest.raises(UnsupportedFormat, match="dicom, j2k, jpegls, htj2k, png, jpeg, or a MIME"):
        parse_form("gif")


def test_all_written_syntaxes_and_as_uploaded_can_be_asked_for() -> None:
    asked = {each.transfer_syntax for each in FORMATS if each.media_type == "application/dicom"}
    ends = "|.1|.1.99|.4.50|.4.51|.4.57|.4.70|.4.80|.4.81|.4.90|.4.91|.4.110|.4.111|.4.112"
    ends += "|.4.201|.4.202|.4.203|.5|.8.1"
    assert asked == {"*"} | {f"1.2.840.10008.1.2{end}" for end in ends.split("|")}


def test_every_syntax_that_is_read_has_a_row() -> None:
    rows = {each.transfer_syntax for each in source_rows()}
    assert rows == set(SYNTAXES) | {"any other"}


def test_bytes_are_copied_for_the_stored_syntax_and_as_uploaded_only() -> None:
    stored = "1.2.840.10008.1.2.4.90"
    assert can_copy(stored, parse_format(None))
    assert can_copy(stored, parse_format(f"application/dicom; transfer-syntax={stored}"))
    assert not can_copy(
        stored, parse_format("application/dicom; transfer-syntax=1.2.840.10008.1.2")
    )
    assert not can_copy(stored, parse_format("application/octet-stream; transfer-syntax=*"))
