"""The filter of ListDicomStores, on the labels of stores.

    labels.site = north AND (labels.phase >= 2 OR NOT labels.owner = "lab-1")

Labels are text, so `=` searches for the text within the value, as the reference says; an
empty text matches every store that has the label. `<`, `<=`, `>` and `>=` compare a value that
is a number or a date with another. NOT binds tightest, then AND, then OR.
"""

import functools
import operator
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from google.rpc.code_pb2 import INVALID_ARGUMENT
from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedToken

from dicomferry.api.errors import ApiError

MAX_FILTER = 10_000

_GRAMMAR = r"""
?any_of: all_of ("OR" all_of)*
?all_of: factor ("AND" factor)*
?factor: "NOT" factor -> negation
    | "(" any_of ")"
    | TEXT COMPARISON (TEXT | QUOTED) -> restriction

TEXT: /[^\s"()=<>!]+/
QUOTED: /"(?:[^"\\]|\\.)*"/s
COMPARISON: "<=" | ">=" | "<" | ">" | "="

%ignore /\s+/
"""
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_DATE = re.compile(
    r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2}))?", re.ASCII
)
_ORDER = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_IN_WORDS = {
    "TEXT": "a text",
    "QUOTED": 'a "text"',
    "COMPARISON": "one of = < <= > >=",
    "LPAR": "'('",
    "RPAR": "')'",
    "$END": "the end",
}

Value = str | float | datetime


class Restriction(NamedTuple):
    """One comparison of a label's value."""

    key: str
    comparison: str
    value: Value

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a store with these labels matches."""
        if self.key not in labels:
            return False
        label = labels[self.key]
        if isinstance(self.value, str):
            return self.value in label
        value = _read(label)
        if type(value) is not type(self.value):
            return False
        return bool(_ORDER[self.comparison](value, self.value))


# A filter as steps of a stack machine, so that nesting costs no recursion: restrictions, and AND,
# OR and NOT with the number of results that each takes from the stack.
Step = Restriction | tuple[str, int]
Steps = tuple[Step, ...]


class LabelFilter:
    """A parsed filter."""

    def __init__(self, steps: Steps = ()) -> None:
        """Keep the steps; without any, every store matches."""
        self._steps = steps

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a store with these labels matches."""
        stack: list[bool] = []
        for step in self._steps:
            if isinstance(step, Restriction):
                stack.append(step.matches(labels))
                continue
            connective, count = step
            operands = stack[-count:]
            del stack[-count:]
            if connective == "NOT":
                stack.append(not operands[0])
            else:
                stack.append(all(operands) if connective == "AND" else any(operands))
        return stack.pop() if stack else True


def parse_filter(text: str) -> LabelFilter:
    """Parse a filter; an empty one matches every store.

    Raises:
        ApiError: it is not a filter; the message has the position.
    """
    if len(text) > MAX_FILTER:
        raise ApiError(
            INVALID_ARGUMENT,
            f"filter has {len(text)} characters; at most {MAX_FILTER} are allowed: shorten it",
        )
    if not text.strip():
        return LabelFilter()
    try:
        parsed: Any = _parser().parse(text)
    except UnexpectedToken as error:
        raise _unexpected(error, len(text)) from None
    except UnexpectedCharacters as error:
        raise _stray(text, error.pos_in_stream or 0) from None
    return LabelFilter(parsed)


@functools.cache
def _parser() -> Lark:
    # Keywords are reserved (`lexer="basic"`): a value AND has to be quoted. Steps are created while
    # the text is parsed, so that nesting costs no recursion here either.
    return Lark(_GRAMMAR, start="any_of", parser="lalr", lexer="basic", transformer=_ToSteps())


@v_args(inline=True)
class _ToSteps(Transformer[Token, Steps]):
    def any_of(self, *operands: Steps) -> Steps:
        return (*_concatenated(operands), ("OR", len(operands)))

    def all_of(self, *operands: Steps) -> Steps:
        return (*_concatenated(operands), ("AND", len(operands)))

    def negation(self, operand: Steps) -> Steps:
        return (*operand, ("NOT", 1))

    def restriction(self, field: Token, comparison: Token, value: Token) -> Steps:
        name, _, key = field.partition(".")
        if name != "labels" or not key:
            raise _refusal(field, f"{str(field)!r} cannot be filtered: write labels.KEY")
        if value.type == "QUOTED":
            text = re.sub(r"\\(.)", r"\1", value[1:-1], flags=re.DOTALL)
        else:
            text = str(value)
        if comparison == "=":
            return (Restriction(key, "=", text),)
        read = _read(text)
        if isinstance(read, str):
            raise _refusal(
                comparison,
                f"{str(comparison)!r} compares numbers and dates (yyyy-mm-dd or RFC 3339), and "
                f"{text!r} is neither: compare text with '='",
            )
        return (Restriction(key, str(comparison), read),)


def _concatenated(operands: tuple[Steps, ...]) -> Steps:
    return tuple(step for operand in operands for step in operand)


def _read(text: str) -> Value:
    """Read a value as a number or a time if it is one, else as text."""
    if _NUMBER.fullmatch(text):
        return float(text)
    if _DATE.fullmatch(text):
        try:
            time = datetime.fromisoformat(text)
        except ValueError:  # no such day
            return text
        return time if time.tzinfo else time.replace(tzinfo=UTC)
    return text


def _unexpected(error: UnexpectedToken, end: int) -> ApiError:
    needed = " or ".join(sorted(_IN_WORDS.get(name, name) for name in error.accepts))
    if error.token.type == "$END":
        return _at(end, f"the filter ends too early; {needed} is missing")
    if not needed:  # the filter was complete before this token
        return _refusal(error.token, f"no parenthesis is open for {str(error.token)!r}")
    return _refusal(error.token, f"expected {needed}, not {str(error.token)!r}")


def _stray(text: str, position: int) -> ApiError:
    if text[position] == "!":
        return _at(position, "there is no '!=': write NOT labels.KEY = VALUE")
    return _at(position, "this quotation mark is not closed")


def _refusal(token: Token, problem: str) -> ApiError:
    return _at(token.start_pos or 0, problem)


def _at(position: int, problem: str) -> ApiError:
    return ApiError(INVALID_ARGUMENT, f"filter, character {position + 1}: {problem}")
