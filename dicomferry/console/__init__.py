"""Web console: stores, operations, outcomes of files, pictures."""
