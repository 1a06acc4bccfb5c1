"""What everything stands on: settings, errors, progress, memory, devices."""
