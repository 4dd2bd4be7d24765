"""HTML of the console's pages."""
