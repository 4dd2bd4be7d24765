"""Bring all copies of a SOP Instance UID together, in buckets that one commit can hold."""

import dataclasses
import zlib
from collections.abc import Iterable

import apache_beam as beam

from dicomferry.transforms.commit_instances import BATCH_ROWS
from dicomferry.transforms.records import Instance


@dataclasses.dataclass
class GroupByBucket(beam.PTransform):
    """Group instances by bucket = hash(SOPInstanceUID).

    The number of buckets follows from `files`, a singleton view of how many files were
    listed: known before the first header is read, so that reading stays fused with keying.
    """

    files: beam.pvalue.AsSingleton

    def expand(
        self, instances: beam.PCollection[Instance]
    ) -> beam.PCollection[tuple[int, Iterable[Instance]]]:
        """Wire it."""
        return (
            instances
            | "KeyByBucket" >> beam.Map(_key_by_bucket, self.files)
            | "GroupByBucket" >> beam.GroupByKey()
        )


def _key_by_bucket(instance: Instance, files: int) -> tuple[int, Instance]:
    buckets = -(-files // BATCH_ROWS) or 1
    return zlib.crc32(instance.sop_instance_uid.encode()) % buckets, instance
