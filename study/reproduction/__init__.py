"""A study run again from its record, and held against it measurement by measurement."""
