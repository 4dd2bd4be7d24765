"""The Python API behind `import dicomferry`: stores, jobs and their results."""
