"""Bring all copies of a SOP Instance UID together, in buckets that one commit can hold."""

import dataclasses
import zlib
from collections.abc import Iterable

import apache_beam as beam

from dicomferry.transforms.prepare_instances import BUCKET_ROWS
from dicomferry.transforms.records import Instance


@dataclasses.dataclass
class GroupByBucket(beam.PTransform):
    """Group instances by bucket = hash(SOPInstanceUID).

    Attributes:
        files: singleton view of the number of listed files, from which the number of buckets
            follows. It is known before the first header is read, so that reading stays fused
            with keying.
    """

    files: beam.pvalue.AsSingleton

    def expand(
        self, instances: beam.PCollection[Instance]
    ) -> beam.PCollection[tuple[int, Iterable[Instance]]]:
        """Key instances by bucket and group them.

        Returns:
            (bucket, its instances): all copies of a SOP Instance UID are in one bucket.
        """
        return (
            instances
            | "KeyByBucket" >> beam.Map(_key_by_bucket, self.files)
            | "GroupByBucket" >> beam.GroupByKey()
        )


def _key_by_bucket(instance: Instance, files: int) -> tuple[int, Instance]:
    buckets = -(-files // BUCKET_ROWS) or 1
    return zlib.crc32(instance.sop_instance_uid.encode()) % buckets, instance
