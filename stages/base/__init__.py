"""The base of all other packages: settings, errors, progress, memory, devices."""
