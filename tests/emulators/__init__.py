"""Stand-ins for the cloud that tests, benchmarks and the README's walk-through start themselves."""
