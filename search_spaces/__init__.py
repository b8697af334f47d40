"""What may vary in a study: dimensions, spaces, families and designs, as plain data."""
