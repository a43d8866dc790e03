"""WHAT tasks do: arrays in, arrays out. Knows nothing of Redis or Docker."""
