"""Sources of an import: parse their URIs, list them, read them."""
