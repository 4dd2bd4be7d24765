"""Web console: stores, operations, outcomes of files, pictures; it starts and cancels jobs."""
