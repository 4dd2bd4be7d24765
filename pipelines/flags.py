"""Flags of the pipelines: fields of a request, annotated with a `Flag`.

A field has the flag's name, type and default; its `Flag` has the rest. argparse, the commands of
`dicomferry`, the parameters of the Dataflow templates, the arguments of launched jobs and the
table in the docs are made from these. No Beam here: the server imports it.
"""

import argparse
import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

R = TypeVar("R")

_EXPECTED = {int: "a whole number", float: "a number", bool: "true or false"}
_PATTERNS = {int: "^[0-9]+$", float: r"^[0-9]+(\.[0-9]+)?$", bool: "^(true|false)$"}


@dataclasses.dataclass(frozen=True)
class Flag:
    """Annotation of a request's field that is a flag.

    Attributes:
        help: its meaning; a sentence without its period, and without the default.
        also: another name of the flag on the command line.
        metavar: name of its value in help texts; default: derived from the flag's name.
        parse: reads a value from text, raising ValueError; default: by the field's type.
        format: writes a value as text that `parse` reads.
        minimum: the least number that is accepted.
        default_help: the default in words, where the value itself does not explain it.
        group: which of a pipeline's commands has the flag; '': all of them.
        in_commands: whether the commands of `dicomferry` list it.
        in_templates: whether the Dataflow templates have it as a parameter.
        remote_help: the meaning for jobs on Dataflow, where it differs; theirs is the default.
        remote_pattern: regular expression of its values for jobs on Dataflow; default: by type.
        is_required_remotely: whether a job on Dataflow cannot use the default.
        is_recorded: whether the record of an operation has it also where it is the default.
    """

    help: str
    also: str = ""
    metavar: str = ""
    parse: Callable[[str], Any] | None = None
    format: Callable[[Any], str] = str
    minimum: int | None = None
    default_help: str = ""
    group: str = ""
    in_commands: bool = True
    in_templates: bool = True
    remote_help: str = ""
    remote_pattern: str = ""
    is_required_remotely: bool = False
    is_recorded: bool = False


@dataclasses.dataclass(frozen=True)
class NamedFlag:
    """A flag of one kind of request.

    Attributes:
        name: of the field, and of the template's parameter.
        flag: its annotation.
        type: of one value: int, float, bool, an enumeration, or any other class.
        field: of the dataclass; has the default.
        is_repeated: whether it may be given several times.
    """

    name: str
    flag: Flag
    type: type
    field: "dataclasses.Field[Any]"
    is_repeated: bool

    @property
    def option(self) -> str:
        """The flag as users write it: --max-failures."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def options(self) -> tuple[str, ...]:
        """The flag as users write it, by all of its names."""
        return (self.option, f"--{self.flag.also}") if self.flag.also else (self.option,)

    @property
    def is_switch(self) -> bool:
        """Whether it may be given without a value, which means true."""
        return self.type is bool

    @property
    def is_required(self) -> bool:
        """Whether there is no default."""
        missing = dataclasses.MISSING
        return self.field.default is missing and self.field.default_factory is missing

    @property
    def choices(self) -> tuple[str, ...]:
        """All of its values, where these are an enumeration."""
        return tuple(map(str, self.type)) if issubclass(self.type, enum.StrEnum) else ()

    @property
    def default(self) -> str:
        """The default as text; '' if there is none, or it needs no words."""
        value = self.field.default
        needs_words = value is dataclasses.MISSING or value is None or value is False
        if self.flag.default_help or needs_words or value == ():
            return self.flag.default_help
        return self.format(value)

    @property
    def help(self) -> str:
        """The meaning, with the default."""
        return f"{self.flag.help} (default: {self.default})" if self.default else self.flag.help

    @property
    def remote_help(self) -> str:
        """The meaning for a job on Dataflow, with the default."""
        return self.flag.remote_help or self.help

    @property
    def remote_pattern(self) -> str:
        """A regular expression of its values for jobs on Dataflow; '': any text."""
        if self.choices:
            return f"^({'|'.join(self.choices)})$"
        return self.flag.remote_pattern or _PATTERNS.get(self.type, "")

    def parse(self, text: str) -> Any:
        """Read one value from text.

        Raises:
            ValueError: with the reason, and the name of the flag or its value.
        """
        if self.field.default is None and not text:
            return None
        if self.flag.parse:
            return self.flag.parse(text)
        if self.type is bool and text.lower() in ("true", "false"):
            return text.lower() == "true"
        try:
            return None if self.type is bool else self.type(text)
        except ValueError:
            pass
        expected = " or ".join(self.choices) or _EXPECTED[self.type]
        raise ValueError(f"{self.option} must be {expected}, got {text!r}")

    def format(self, value: Any) -> str:
        """Write one value as text, the inverse of `parse`."""
        return str(value).lower() if self.type is bool else self.flag.format(value)

    def check(self, value: Any) -> None:
        """Refuse a value that `parse` may not have read.

        Raises:
            ValueError: with the rule and the value.
        """
        least = self.flag.minimum
        if least is not None and value is not None and value < least:
            raise ValueError(f"{self.option} must be {least} or more, got {value}")
        if self.choices and value is not None and value not in self.choices:
            raise ValueError(f"{self.option} must be {' or '.join(self.choices)}, got {value!r}")


def flags_of(kind: type) -> tuple[NamedFlag, ...]:
    """The flags of a kind of request, in the order of its fields."""
    return _flags_of(kind)


@functools.cache
def _flags_of(kind: Any) -> tuple[NamedFlag, ...]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return tuple(
        _named(field, *typing.get_args(hints[field.name])) for field in dataclasses.fields(kind)
    )


class _Once(argparse.Action):
    """A flag of several names, of which another would be dropped without a word."""

    def __call__(
        self, _parser: object, namespace: argparse.Namespace, values: Any, *_: object
    ) -> None:
        if hasattr(namespace, self.dest):
            names = [name for name in self.option_strings if "_" not in name]
            raise argparse.ArgumentError(None, f"{' and '.join(names)} are one flag: give it once")
        setattr(namespace, self.dest, values)


def add_flags(parser: argparse.ArgumentParser, kind: type) -> None:
    """Add the flags of a kind of request to a parser, as texts; one not given is left out."""
    for each in flags_of(kind):
        options: dict[str, Any] = {"help": each.help.replace("%", "%%")}
        if each.is_switch:
            options |= {"nargs": "?", "const": "true", "metavar": "true"}
        elif each.is_repeated:
            options |= {"action": "append"}
        elif each.flag.also:
            options |= {"action": _Once}
        if each.flag.metavar:
            options["metavar"] = each.flag.metavar
        elif each.choices and not each.is_switch:
            options["metavar"] = f"{{{','.join(each.choices)}}}"
        parser.add_argument(
            *dict.fromkeys((*each.options, f"--{each.name}")),  # as commands and templates spell it
            dest=each.name,
            required=each.is_required,
            default=argparse.SUPPRESS,
            **options,
        )


def from_namespace(kind: type[R], known: argparse.Namespace) -> R:
    """Make a request of what a parser with its flags has found.

    Raises:
        ValueError: a value is wrong, with the remedy.
    """
    values = {}
    for each in flags_of(kind):
        if each.name in known:
            text = getattr(known, each.name)
            value = tuple(map(each.parse, text)) if each.is_repeated else each.parse(text)
            values[each.name] = value
    return kind(**values)


def texts_of(request: object) -> Iterator[tuple[NamedFlag, str]]:
    """The flags of a request with their values as text, but for defaults that are constants."""
    for each in flags_of(type(request)):
        value = getattr(request, each.name)
        if value != each.field.default:
            for one in value if each.is_repeated else (value,):
                yield each, each.format(one)


def to_argv(request: object) -> list[str]:
    """The command line that makes this very request."""
    return [f"{each.option}={text}" for each, text in texts_of(request)]


def _named(field: "dataclasses.Field[Any]", hint: Any, flag: Flag) -> NamedFlag:
    is_union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    kinds = typing.get_args(hint) if is_union else (hint,)
    kind = next(each for each in kinds if each is not types.NoneType)
    if typing.get_origin(kind) is tuple:
        return NamedFlag(field.name, flag, typing.get_args(kind)[0], field, is_repeated=True)
    return NamedFlag(field.name, flag, kind, field, is_repeated=False)
