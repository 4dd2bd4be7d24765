"""Why one file or instance failed alone: stable codes, fixed reasons.

A reason never holds exception text or attribute values: both can be patient data.
"""


class InstanceError(Exception):
    """One file or instance cannot be taken; the rest of the job goes on.

    Attributes:
        code: a key of `REASONS`, stable across versions.
    """

    def __init__(self, code: str) -> None:
        if code not in REASONS:
            raise KeyError(code)
        super().__init__(code)
        self.code = code

    def __reduce__(self) -> tuple[type["InstanceError"], tuple[str]]:
        return type(self), (self.code,)

    @property
    def reason(self) -> str:
        """The fixed phrase for people, with what to do about it."""
        return REASONS[self.code]


# code: reason. Codes are part of the interface (outcome files, logs, tests): never rename one.
REASONS: dict[str, str] = {
    "NOT_DICOM": "not a DICOM file: neither 'DICM' at byte 128 nor a data set at the start",
}
