"""`dicomferry formats`: the MIME types of exports, and the targets of each transfer syntax."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table

from dicomferry.cli.output import console


def formats(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown, as in the docs.")
    ] = False,
) -> None:
    """Show the formats of exports, and which of them each stored transfer syntax allows."""
    from dicomferry.pixels.formats import FORMATS, source_rows

    requestable = [("MIME type", "single frame", "multi-frame")]
    for each in FORMATS:
        single = f"{{instance}}{each.extension}"
        multi = f"{{instance}}/{{frame}}{each.extension}" if each.per_frame else single
        requestable.append((each.mime_type, single, multi))
    stored = [("stored as", "name", "decoded by", "can be exported as"), *source_rows()]
    for rows in (requestable, stored):
        if markdown:
            print(_to_markdown(rows), end="\n\n")
        else:
            table = Table()
            # UIDs are there to be copied, so they are whole on any terminal.
            longest = max(len(word) for row in rows[1:] for word in row[0].split())
            first, *others = rows[0]
            table.add_column(first, width=longest)
            for head in others:
                table.add_column(head, overflow="fold")
            for row in rows[1:]:
                table.add_row(*row)
            console.print(table)


def _to_markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
