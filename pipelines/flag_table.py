"""Print the flags of a pipeline as the docs show them, in Markdown.

python -m dicomferry.pipelines.flag_table import_dicom
"""

import sys

from dicomferry.pipelines.export_request import ExportRequest
from dicomferry.pipelines.flags import NamedFlag, flags_of
from dicomferry.pipelines.import_request import ImportRequest
from dicomferry.pipelines.requests import Request

REQUESTS: dict[str, type[Request]] = {
    each.pipeline: each for each in (ImportRequest, ExportRequest)
}


def flag_table(kind: type[Request]) -> str:
    """A Markdown table with one row per flag: flag, value, default, meaning."""
    rows = ["| flag | value | default | meaning |", "|---|---|---|---|"]
    for each in flags_of(kind):
        names = ", ".join(f"`{option}`" for option in each.options)
        cells = names, _value(each), _default(each), each.flag.help
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows) + "\n"


def _value(each: NamedFlag) -> str:
    if each.choices:
        return ", ".join(f"`{choice}`" for choice in each.choices)
    if each.is_switch:
        return ""
    kind = {int: "N", float: "NUMBER"}.get(each.type, each.name.upper())
    return each.flag.metavar or kind


def _default(each: NamedFlag) -> str:
    return "required" if each.is_required else each.default


if __name__ == "__main__":
    print(flag_table(REQUESTS[sys.argv[1]]), end="")
