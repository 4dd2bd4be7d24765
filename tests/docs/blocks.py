"""Tables of docs/ that are written from the code: `python -m tests.docs.blocks` rewrites them.

A block is what is between `<!-- name -->` and `<!-- /name -->`.
"""

import re
import tomllib
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import typer

from dicomferry.api.access.permissions import permissions_of_methods
from dicomferry.cli.main import app, load_command
from dicomferry.cli.settings import common_options
from dicomferry.errors import Reason
from dicomferry.pipelines.export_request import ExportRequest
from dicomferry.pipelines.flag_table import flag_table
from dicomferry.pipelines.import_request import ImportRequest
from dicomferry.pixels.formats import FORMATS, SHORT_NAMES, source_rows
from dicomferry.store.index_schema import SCHEMA

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"


def reasons() -> str:
    """Every code of an outcome, with its fixed sentence."""
    return _table(("code", "reason"), [(f"`{reason}`", reason.sentence) for reason in Reason])


def formats() -> str:
    """What an export can write, and what each stored transfer syntax allows."""
    written = []
    short = {form: f"`{name}`" for name, form in SHORT_NAMES.items()}
    for each in FORMATS:
        single = f"{{instance}}{each.extension}"
        multi = f"{{instance}}/{{frame}}{each.extension}" if each.per_frame else single
        written.append((each.mime_type, short.get(each, ""), single, multi))
    stored = _table(("stored as", "name", "decoded by", "can be exported as"), source_rows())
    head = ("MIME type", "short name", "single frame", "multi-frame")
    return f"{_table(head, written)}\n{stored}"


def methods() -> str:
    """Every method that callers have, with the permission that it takes."""
    rows = [
        (method, " or ".join(f"`{each}`" for each in permissions) or "none")
        for method, permissions in permissions_of_methods().items()
    ]
    return _table(("method", "permission"), rows)


def index() -> str:
    """The columns of a store's index."""
    return _table(("column", "type"), [(f"`{field.name}`", str(field.type)) for field in SCHEMA])


def layers() -> str:
    """The layers of the package, as import-linter holds them."""
    with (REPOSITORY / "pyproject.toml").open("rb") as file:
        [contract] = [
            each
            for each in tomllib.load(file)["tool"]["importlinter"]["contracts"]
            if each["type"] == "layers"
        ]
    lines = (layer.replace(" : ", ", ") for layer in contract["layers"])
    return "\n".join(["```", *lines, "```", ""])


def commands() -> str:
    """Every command with its arguments and flags."""
    return "\n".join(_command(path, command) for path, command in all_commands())


def common() -> str:
    """The flags that every command has."""
    return _table(("flag", "default", "meaning"), map(_flag, common_options()))


def all_commands() -> Iterator[tuple[str, Any]]:
    """Every command that does something, by its words behind `dicomferry`."""
    yield from _below(typer.main.get_command(app), ())


BLOCKS: dict[str, tuple[str, Callable[[], str]]] = {
    "reasons": ("troubleshooting.md", reasons),
    "formats": ("formats.md", formats),
    "methods": ("api.md", methods),
    "index": ("tables.md", index),
    "layers": ("architecture.md", layers),
    "import-flags": ("commands.md", lambda: flag_table(ImportRequest)),
    "export-flags": ("commands.md", lambda: flag_table(ExportRequest)),
    "common-flags": ("commands.md", common),
    "commands": ("commands.md", commands),
}


def _below(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield " ".join(path), load_command(*path)
        return
    for name, inner in command.commands.items():
        yield from _below(inner, (*path, name))


def _command(path: str, command: Any) -> str:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    names = [each.metavar or each.name.upper() for each in arguments]
    lines = [f"### {' '.join([f'dicomferry {path}', *names])}", "", _plain(_summary(command)), ""]
    rows: list[tuple[str, ...]] = [
        (name, "", _plain(argument.help or ""))
        for name, argument in zip(names, arguments, strict=True)
    ]
    known = {each.name for each in common_options()}
    rows += [
        _flag(each)
        for each in command.params
        if each.param_type_name == "option" and each.name not in known
    ]
    head: Sequence[str] = ("argument or flag", "default", "meaning")
    if not any(default for _, default, _ in rows):  # the meaning names it
        head, rows = head[::2], [row[::2] for row in rows]
    return "\n".join([*lines, _table(head, rows) if rows else ""])


def _summary(command: Any) -> str:
    """The first paragraph of a command's help."""
    return " ".join((command.help or "").partition("\n\n")[0].split())


def _flag(option: Any) -> tuple[str, str, str]:
    names = ", ".join(f"`{name}`" for name in option.opts)
    if option.metavar:
        names += f" {option.metavar}"
    elif choices := _choices(option.type_descriptor.annotation):
        names += " " + ", ".join(choices)
    is_shown = option.default not in (None, "", [], ()) and not option.is_flag
    default = f"`{option.default}`" if is_shown and not option.required else ""
    return names, default, _plain(option.help or "") + " Required." * bool(option.required)


def _choices(kind: Any) -> list[str]:
    """The values of an enumeration, or of one that may be left out."""
    kinds = typing.get_args(kind) or (kind,)
    return [
        str(value)
        for each in kinds
        if isinstance(each, type) and issubclass(each, StrEnum)
        for value in each
    ]


def _plain(text: str) -> str:
    """A help text without the markup that it has for a terminal, as Markdown."""
    return re.sub(r"([<>*_])", r"\\\1", text.replace("\\[", "["))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows as a table of GitHub's Markdown."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in rows:
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
    return "\n".join(lines) + "\n"


def split(text: str, name: str) -> tuple[str, str, str]:
    """A page before, within and after a block."""
    start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, _, rest = text.partition(start)
    within, closed, after = rest.partition(end)
    if not closed:
        raise LookupError(f"no block {name}")
    return before + start, within, end + after


def main() -> None:
    """Rewrite all blocks."""
    for name, (page, write) in BLOCKS.items():
        path = DOCS / page
        before, _, after = split(path.read_text(), name)
        path.write_text(before + write() + after)


if __name__ == "__main__":
    main()
