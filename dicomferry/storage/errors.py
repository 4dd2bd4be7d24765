"""Errors of storages that are not those of the system or of a service."""


class StorageError(ValueError):
    """A root or destination that cannot serve; the message says what to do."""


class NoCredentialsError(StorageError):
    """There are no credentials for a service; the message names the command that makes them."""


class MissingBucketError(LookupError):
    """A bucket that is named for a source or a destination does not exist."""


class ChangedFileError(Exception):
    """A file has another version than the one that was to be read."""


class ShortReadError(OSError):
    """A storage answered with fewer bytes than requested."""
