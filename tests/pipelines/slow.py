"""The work of jobs, slowed down; a module of its own, since worker processes import it."""

import time

from dicomferry.transforms.ingest import ingest_all
from dicomferry.transforms.write_instance import write_all
from dicomferry.transforms.write_rows import write_parts

SECONDS = 0.1


def ingest_slowly(sources, target):
    """Read sources; those with "slow" in their names take a while."""
    time.sleep(SECONDS * sum("slow" in source.uri for source in sources))
    return ingest_all(sources, target)


def write_slowly(instances, target):
    """Write instances as files, each for a while."""
    time.sleep(SECONDS * len(instances))
    return write_all(instances, target)


def write_parts_slowly(parts, data, folder, target):
    """Write rows of a table, each row group for a while."""
    time.sleep(1.0 * sum(map(len, parts)))
    return write_parts(parts, data, folder, target)
