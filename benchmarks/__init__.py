"""Benchmarks of the jobs on this machine, side by side with the alternatives of a user."""
