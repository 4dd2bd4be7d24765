"""`dicomferry formats`: the MIME types of exports, and the targets of each transfer syntax."""

from collections.abc import Sequence

from rich.table import Table

from dicomferry.cli.output import console, show


def formats() -> None:
    """Show the export formats, and which of them each stored transfer syntax allows.

    Example: [bold]dicomferry formats --format json[/bold]
    """
    from dicomferry.pixels.formats import FORMATS, SHORT_NAMES, source_rows

    short = {form: name for name, form in SHORT_NAMES.items()}
    requestable = [
        {
            "mimeType": each.mime_type,
            "shortName": short.get(each, ""),
            "singleFrame": f"{{instance}}{each.extension}",
            "multiFrame": f"{{instance}}{'/{frame}' * each.per_frame}{each.extension}",
        }
        for each in FORMATS
    ]
    stored = [
        {
            "transferSyntax": row.transfer_syntax,
            "name": row.name,
            "decoder": row.decoder,
            "targets": row.targets,
        }
        for row in source_rows()
    ]

    def for_people() -> None:
        _write_table(
            ("MIME type", "short", "single frame", "multi-frame"),
            [tuple(each.values()) for each in requestable],
        )
        _write_table(
            ("stored as", "name", "decoded by", "can be exported as"),
            [tuple(each.values()) for each in stored],
        )

    show({"formats": requestable, "stored": stored}, for_people)


def _write_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table()
    # UIDs are there to be copied, so they are whole on any terminal.
    longest = max(len(word) for row in rows for word in row[0].split())
    first, *others = heads
    table.add_column(first, width=longest)
    for head in others:
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)
