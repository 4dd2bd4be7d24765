"""Where requests may read and write: folders, buckets, tables, topics.

A job reads and writes with the permissions of the server: without rules a caller could reach
everything that the server can. The same rules are applied when a request comes, when its job
begins, and when the job opens, loads or publishes something.
"""

from dicomferry.places.bounds import Access, Bounds
from dicomferry.places.overwriting import Overwrite
from dicomferry.places.place_set import Places, parse_places
from dicomferry.places.rules import PlaceDeniedError, PlaceRules

__all__ = [
    "Access",
    "Bounds",
    "Overwrite",
    "PlaceDeniedError",
    "PlaceRules",
    "Places",
    "parse_places",
]
