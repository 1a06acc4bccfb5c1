"""Measures: arrays in, numbers out. No path, no settings, no logging."""
