"""Arguments and options that commands share, and those made from the flags of a request."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.markup import escape

from dicomferry.pipelines.flags import NamedFlag, flags_of
from dicomferry.pipelines.requests import DEFAULT_ROOT, ROOT_VARIABLE, Request

__all__ = ["BEAM_FLAGS", "DEFAULT_ROOT", "Root", "StoreArgument", "to_argv", "with_flags"]

# Flags that we do not know are Beam's.
BEAM_FLAGS = {"allow_extra_args": True, "ignore_unknown_options": True}

Root = Annotated[
    str,
    typer.Option(
        "--root",
        envvar=ROOT_VARIABLE,
        help="Folder or gs://bucket/prefix that holds the stores.",
    ),
]
StoreArgument = Annotated[str, typer.Argument(help="Id or full resource name of the store.")]

# Values of flags by their names, as typer read them; None: not given.
FlagValues = Mapping[str, Any]


def with_flags(
    command: Callable[[typer.Context, FlagValues], None],
    kind: type[Request],
    arguments: Sequence[str],
    group: str = "",
) -> Callable[..., None]:
    """Return a command for typer whose parameters are the flags of a request.

    Args:
        command: takes the context and the values.
        kind: of the request.
        arguments: names of the flags that are positional; those without a default of their own
            on the command line are required.
        group: of the flags, beside those of all commands.
    """
    flags = {each.name: each for each in flags_of(kind) if _is_listed(each, group)}
    shared = [each.name for each in flags_of(Request)]
    options = sorted((name for name in flags if name not in arguments), key=shared.__contains__)
    parameters = [
        _parameter(flags[name], name in arguments, group) for name in (*arguments, *options)
    ]

    def run(context: typer.Context, **values: Any) -> None:
        command(context, values)

    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    signature = [context.replace(annotation=typer.Context), *parameters]
    run.__signature__ = inspect.Signature(signature)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in signature}
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return run


def to_argv(values: FlagValues, kind: type[Request]) -> list[str]:
    """The command line of a pipeline that has these values."""
    argv = []
    for each in flags_of(kind):
        value = values.get(each.name)
        if value is not None and value is not False:
            argv += [
                f"{each.option}={one if isinstance(one, str) else each.format(one)}"
                for one in (value if isinstance(value, list | tuple) else [value])
            ]
    return argv


def _is_listed(each: NamedFlag, group: str) -> bool:
    return each.flag.in_commands and each.flag.group in ("", group)


def _parameter(each: NamedFlag, is_argument: bool, group: str) -> inspect.Parameter:
    text = escape(f"{each.help}.")
    metavar = each.flag.metavar or None
    annotation: Any
    default: Any = None
    if is_argument:
        is_required = each.is_required or (group != "" and each.flag.group == group)
        default = inspect.Parameter.empty if is_required else None
        annotation = str if is_required else str | None
        info: Any = typer.Argument(help=text, show_default=False)
    elif each.is_switch:
        annotation, default = bool, False
        info = typer.Option(*each.options[::-1], help=text)
    else:
        annotation = _annotation(each)
        info = typer.Option(*each.options[::-1], help=text, metavar=metavar, show_default=False)
    return inspect.Parameter(
        each.name,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        default=default,
        annotation=Annotated[annotation, info],
    )


def _annotation(each: NamedFlag) -> Any:
    # Of a flag that has several names, all that was given counts: the program takes one.
    if each.is_repeated or each.flag.also:
        return list[str] | None
    return each.type | None if each.choices or each.type in (int, float) else str | None
