"""Sources of an import: which files a URI means, listing them and reading them."""
