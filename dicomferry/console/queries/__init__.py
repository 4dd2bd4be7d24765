"""What the console's pages show: read from stores and operations."""
