"""The API over REST: every method by its HTTP annotation, in proto JSON."""
