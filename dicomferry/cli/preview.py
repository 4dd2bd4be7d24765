"""`dicomferry preview` and `dicomferry formats`: something to look at."""

import os
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table

from dicomferry.cli.options import DEFAULT_ROOT, Root, StoreArgument
from dicomferry.cli.output import console, find_store, say
from dicomferry.storage.registry import open_file


def preview(
    store: StoreArgument,
    output: Annotated[str, typer.Option("--output", "-o", help="Page to write.")] = "preview.html",
    filter_: Annotated[
        str, typer.Option("--filter", metavar="FILE", help="As for `export files`.")
    ] = "",
    root: Root = DEFAULT_ROOT,
) -> None:
    """Write one page of thumbnails, series by series: what is in a store at a glance.

    Example: [bold]dicomferry preview trial -o preview.html[/bold]
    """
    from dicomferry.console.preview import preview_page
    from dicomferry.store.instance_filter import read_instance_filter

    found = find_store(root, store)
    paths = read_instance_filter(filter_) if filter_ else None
    pieces = preview_page(found.data, f"DICOM store {found.name.id}", paths, os.cpu_count() or 1)
    storage, name = open_file(os.path.abspath(output))
    with console.status("rendering"):
        storage.write(name, (piece.encode() for piece in pieces))
    say(f"Open {output} in a browser")


def formats(
    markdown: Annotated[bool, typer.Option("--markdown", help="As the README shows it.")] = False,
) -> None:
    """Show what an export can be asked for, and what each stored syntax allows."""
    from dicomferry.pixels.formats import FORMATS, source_rows

    asked = [("MIME type", "single frame", "multi-frame")]
    for each in FORMATS:
        single = f"{{instance}}{each.extension}"
        multi = f"{{instance}}/{{frame}}{each.extension}" if each.per_frame else single
        asked.append((each.mime_type, single, multi))
    stored = [("stored as", "name", "decoded by", "can be exported as"), *source_rows()]
    for rows in (asked, stored):
        if markdown:
            print(_to_markdown(rows), end="\n\n")
        else:
            table = Table(*rows[0])
            for row in rows[1:]:
                table.add_row(*row)
            console.print(table)


def _to_markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
