"""PTransforms, named by their verbs, and the plain functions that decide for them."""
