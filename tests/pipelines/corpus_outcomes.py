"""The expected outcome and code of every corpus file; as a program, writes them anew.

    python -m tests.pipelines.corpus_outcomes

Read the difference file by file before you commit it: the table is what was found right.
"""

import csv
import tempfile
from pathlib import Path

from dicomferry.storage.base import Storage
from dicomferry.storage.registry import open_storage
from tests.corpus import CORPUS
from tests.pipelines.jobs import Run, new_store, run_import

TABLE = Path(__file__).parents[1] / "corpus_outcomes.csv"


def inventory() -> dict[str, dict[str, str]]:
    """What is known of each corpus file, by its path."""
    with (CORPUS / "inventory.csv").open(encoding="utf-8", newline="") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


def import_corpus(root: Storage, folder: Path) -> Run:
    """Import the files of the inventory, and no others, through links in a folder."""
    folder.mkdir()
    for name in sorted({path.partition("/")[0] for path in inventory()}):
        (folder / name).symlink_to(CORPUS / name)
    new_store(root)
    return run_import(root, f"{folder}/**")


def expected() -> dict[str, tuple[str, str]]:
    """Outcome and code by path, as committed."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return {row["path"]: (row["outcome"], row["code"]) for row in csv.DictReader(file)}


def found(job: Run, folder: Path) -> dict[str, tuple[str, str]]:
    """Outcome and code by path, as a job left them."""
    return {
        source.removeprefix(f"{folder}/"): (line["outcome"], line.get("code", ""))
        for source, line in job.outcomes.items()
    }


def main() -> None:
    """Write the table."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "in")
        outcomes = found(import_corpus(open_storage(f"{scratch}/root"), folder), folder)
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "outcome", "code"])
        writer.writerows((path, *outcomes[path]) for path in sorted(outcomes))


if __name__ == "__main__":
    main()
