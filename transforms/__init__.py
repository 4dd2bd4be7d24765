"""PTransforms, named by their verbs, and the plain functions that decide for them."""

from dicomferry.extras import hush_beam

hush_beam()
