"""Folders and buckets: the storage that stores, sources and destinations are in."""
