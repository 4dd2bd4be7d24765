import pytest

from dicomferry.tables import values
from dicomferry.tables.values import UNFIT


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20260228", "2026-02-28"),
        ("20240229 ", "2024-02-29"),
        ("1997.01.31", "1997-01-31"),
        ("00010101", "0001-01-01"),
        ("20260229", UNFIT),
        ("00000101", UNFIT),
        ("202602", UNFIT),
        ("2026", UNFIT),
        ("20260101-20260131", UNFIT),
        ("2026-01-01", UNFIT),
        ("٢٠٢٦٠١٠١", UNFIT),
        ("unknown", UNFIT),
        (20260101, UNFIT),
    ],
)
def test_a_date_is_a_whole_day_of_the_calendar(text, expected):
    assert values.date_of(text, "+0000") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10", "10:00:00"),
        ("1011", "10:11:00"),
        ("101112", "10:11:12"),
        ("101112.5", "10:11:12.500000"),
        ("101112.123456 ", "10:11:12.123456"),
        ("10:11:12.25", "10:11:12.250000"),
        ("10:11", "10:11:00"),
        ("235960", UNFIT),
        ("240000", UNFIT),
        ("101112.1234567", UNFIT),
        ("101", UNFIT),
        ("1000-1200", UNFIT),
        (None, UNFIT),
    ],
)
def test_a_time_of_day_may_stop_at_any_component(text, expected):
    assert values.time_of(text, "+0000") == expected


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("20260102030405.000006", "+0000", "2026-01-02T03:04:05.000006Z"),
        ("20260102030405+0100", "-0500", "2026-01-02T02:04:05Z"),
        ("20260102030405", "-0530", "2026-01-02T08:34:05Z"),
        ("2026010203", "+0000", "2026-01-02T03:00:00Z"),
        ("202601", "+0000", "2026-01-01T00:00:00Z"),
        ("2026", "+0100", "2025-12-31T23:00:00Z"),
        ("2026+1400", "+0000", "2025-12-31T10:00:00Z"),
        ("0001+0100", "+0000", UNFIT),
        ("9999123123-0200", "+0000", UNFIT),
        ("2026+1401", "+0000", UNFIT),
        ("2026-1300", "+0000", UNFIT),
        ("20261301", "+0000", UNFIT),
        ("20260102030460", "+0000", UNFIT),
        ("2026-2027", "+0000", UNFIT),
        ("yesterday", "+0000", UNFIT),
    ],
)
def test_a_date_time_is_an_instant_in_utc(text, zone, expected):
    assert values.timestamp_of(text, zone) == expected


@pytest.mark.parametrize(
    ("given", "zone"),
    [
        (["+0130"], "+0130"),
        (["-0330 "], "-0330"),
        ([], "+0000"),
        (None, "+0000"),
        (["CET"], "+0000"),
        (["+9900"], "+0000"),
        ([None], "+0000"),
    ],
)
def test_the_zone_of_an_instance_is_utc_unless_it_names_a_valid_one(given, zone):
    assert values.zone_of(given) == zone


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, 0),
        (-(2**63), -(2**63)),
        (2**63 - 1, 2**63 - 1),
        (2**63, UNFIT),
        ("12", UNFIT),
        (True, UNFIT),
        (1.0, UNFIT),
        (None, UNFIT),
    ],
)
def test_an_integer_has_64_bits(value, expected):
    assert values.integer_of(value, "+0000") == expected


def test_an_attribute_tag_is_its_number():
    assert values.tag_of("7FE00010", "") == 0x7FE00010
    assert values.tag_of("7FE0001", "") is UNFIT
    assert values.tag_of(5, "") is UNFIT


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.5, 1.5),
        (2, 2.0),
        ("NaN", "NaN"),
        ("inf", "Infinity"),
        ("-inf", "-Infinity"),
        (float("nan"), "NaN"),
        (float("-inf"), "-Infinity"),
        ("1.5", UNFIT),
        (None, UNFIT),
    ],
)
def test_a_float_may_be_none_of_the_numbers(value, expected):
    assert values.float_of(value, "") == expected


def test_a_person_name_keeps_every_group_and_component():
    name = {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^^^^Dr"}
    assert values.person_name_of(name, "") == {
        "Alphabetic": {"FamilyName": "Yamada", "GivenName": "Tarou"},
        "Ideographic": {"FamilyName": "山田", "GivenName": "太郎"},
        "Phonetic": {"FamilyName": "やまだ", "NameSuffix": "Dr"},
    }
    assert values.person_name_of({"Alphabetic": "a^b^c^d^e^f"}, "") is UNFIT
    assert values.person_name_of("raw", "") is UNFIT


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        (None, ""),
        (1.5, "1.5"),
        (7, "7"),
        ({"Alphabetic": "A^B", "Phonetic": "C"}, "A^B==C"),
        ({"Alphabetic": "A"}, "A"),
    ],
)
def test_the_text_of_a_value_is_as_a_reader_would_write_it(value, text):
    assert values.text_of(value) == text
