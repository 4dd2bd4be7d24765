"""The filter of ListDicomStores."""

import json
import re

import pytest
from google.rpc.code_pb2 import INVALID_ARGUMENT
from hypothesis import example, given
from hypothesis import strategies as st

from dicomferry.api.errors import ApiError
from dicomferry.api.label_filter import MAX_FILTER, parse_filter

LABELS = {
    "site": "north-wing",
    "phase": "3",
    "since": "2024-02-29",
    "ключ": "значение",
    "empty": "",
    "big": "10",
}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "labels.site=north-wing",
        "labels.site = wing",
        'labels.site="north-wing"',
        'labels.site=""',
        'labels.empty=""',
        "labels.ключ=знач",
        "labels.phase=3",
        "labels.big=1",  # labels are text, and it contains 1
        "labels.phase<10",  # as numbers, not as text
        "labels.phase<=3 AND labels.phase>=3.0 AND labels.phase>2.9e0",
        "labels.big>-1 AND labels.big<1e2 AND labels.big>=.5",
        "labels.since>2024-02-28",
        "labels.since<2024-03-01T00:00:00Z",
        "labels.since>=2024-02-28T22:59:59.123456789-01:00",
        "NOT labels.site=south",
        "NOT labels.other=x",
        "NOT NOT labels.site=north",
        "labels.site=south OR labels.site=north",
        "labels.site=north OR labels.site=south AND labels.phase=9",  # AND binds tighter
        "NOT labels.site=south AND labels.phase=3",  # NOT tightest
        "NOT (labels.site=south AND labels.phase=3)",
        "(labels.site=south OR labels.site=north) AND (labels.phase=3)",
        "((((labels.site=north))))",
        'NOT labels.site="AND OR NOT (labels.phase=3)"',
        "labels.site=\tnorth\nAND labels.phase=3",
        "NOT labels.site=OREGON AND NOT labels.site=NOTHING",
    ],
)
def test_what_matches(text):
    assert parse_filter(text).matches(LABELS)


@pytest.mark.parametrize(
    "text",
    [
        "labels.other=x",
        'labels.other=""',
        "labels.site=South",
        "labels.site=NORTH",
        "labels.phase>3",
        "labels.site>3",  # reads as no number
        "labels.since>3",
        "labels.phase>2024-01-01",
        "labels.empty<1",
        "labels.other<1",
        "labels.since>2024-02-29",
        'labels.site="north" AND labels.site="south"',
        'labels.site="north OR labels.phase=3"',
        "(labels.site=north OR labels.site=south) AND labels.phase=9",
        "NOT labels.site=north OR NOT labels.phase=3",
    ],
)
def test_what_does_not_match(text):
    assert not parse_filter(text).matches(LABELS)


def test_quotation_marks_and_backslashes_can_be_quoted():
    for value in ('say "hi"', "back\\slash", "\\", '"'):
        quoted = json.dumps(value, ensure_ascii=False)
        assert parse_filter(f"labels.k={quoted}").matches({"k": f"<{value}>"})


@pytest.mark.parametrize(
    ("text", "character", "said"),
    [
        ("labels.a", 9, "= < <= > >="),
        ("labels.a=", 10, "text"),
        ("labels.a=b labels.c=d", 12, "AND"),
        ("labels.a=b and labels.c=d", 12, "AND"),
        ("labels.a=b AND", 15, "ends too early"),
        ("labels.a=AND", 10, "text"),
        ("AND labels.a=b", 1, "NOT"),
        ("(labels.a=b", 12, "')'"),
        ("labels.a=b)", 11, "no parenthesis"),
        ("()", 2, "NOT"),
        ("labels.a!=b", 9, "NOT labels.KEY"),
        ("labels.a==b", 10, "text"),
        ('labels.a="b', 10, "quotation mark"),
        ("name=trial", 1, "labels.KEY"),
        ("labels=x", 1, "labels.KEY"),
        ("labels.=x", 1, "labels.KEY"),
        ("labels.a=b OR study=2", 15, "'study'"),
        ("labels.a<b", 9, "compare text with '='"),
        ("labels.a>=2024-02-30", 9, "neither"),
        ("labels.a>=2024-1-1", 9, "neither"),
        ('"labels.a"=b', 1, "NOT"),
        ("=", 1, "NOT"),
    ],
)
def test_a_bad_filter_is_refused_with_the_place(text, character, said):
    with pytest.raises(ApiError) as caught:
        parse_filter(text)
    assert caught.value.code == INVALID_ARGUMENT
    assert caught.value.message.startswith(f"filter, character {character}: ")
    assert said in caught.value.message


def test_nesting_and_length_have_no_bad_end():
    depth = (MAX_FILTER - 20) // 2
    assert parse_filter("(" * depth + "labels.a=b" + ")" * depth).matches({"a": "b"})
    assert not parse_filter("NOT " * 2001 + "labels.a=b").matches({"a": "b"})
    clause = "labels.a=b AND (labels.a=c OR ("
    levels = MAX_FILTER // (len(clause) + 2) - 1
    assert parse_filter(clause * levels + "labels.a=b" + "))" * levels).matches({"a": "b"})
    with pytest.raises(ApiError, match="at most 10000"):
        parse_filter("labels.a=" + "b" * MAX_FILTER)


# A filter as a tree, written down in one of many ways, and what it means by the tree alone.
keys = st.sampled_from(["a", "b", "c-1", "字"])
values = st.text("ab1-_字", max_size=3)
leaves = st.one_of(
    st.tuples(st.just("="), keys, st.one_of(values, st.text('ab"\\ ()=', max_size=4))),
    st.tuples(st.sampled_from(["<", "<=", ">", ">="]), keys, st.integers(-3, 30)),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.just("NOT"), inner),
        st.tuples(st.sampled_from(["AND", "OR"]), st.lists(inner, min_size=2, max_size=3)),
    ),
    max_leaves=8,
)


def written(tree, inside=""):
    kind = tree[0]
    if kind == "NOT":
        return f"NOT {written(tree[1], 'NOT')}"
    if kind in ("AND", "OR"):
        text = f" {kind} ".join(written(each, kind) for each in tree[1])
        loose = inside in ("", kind) or (inside == "OR" and kind == "AND")
        return text if loose else f"({text})"
    _, key, value = tree
    plain = isinstance(value, int) or (value and not set(value) & set('"\\ ()='))
    return f"labels.{key} {kind} {value if plain else json.dumps(value, ensure_ascii=False)}"


def meant(tree, labels):
    kind, *operands = tree
    if kind == "NOT":
        return not meant(operands[0], labels)
    if kind in ("AND", "OR"):
        results = [meant(each, labels) for each in operands[0]]
        return all(results) if kind == "AND" else any(results)
    key, value = operands
    if kind == "=":
        return key in labels and value in labels[key]
    if not re.fullmatch("-?[0-9]+", labels.get(key, "")):
        return False
    label = int(labels[key])
    return {"<": label < value, "<=": label <= value, ">": label > value, ">=": label >= value}[
        kind
    ]


@given(trees, st.dictionaries(keys, st.one_of(values, st.integers(-3, 30).map(str))))
@example(("=", "a", "b"), {"a": "b"})
def test_a_filter_means_what_its_tree_means(tree, labels):
    assert parse_filter(written(tree)).matches(labels) == meant(tree, labels)


@given(st.text('labe.s=<>!()"\\ANDORT 1', max_size=30))
def test_any_text_is_understood_or_refused(text):
    try:
        parse_filter(text).matches(LABELS)
    except ApiError as error:
        assert error.code == INVALID_ARGUMENT
