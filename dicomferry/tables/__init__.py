"""Tables of instances: columns, rows and where they go. No Beam, no store."""
