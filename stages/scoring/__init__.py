"""Scores from what was measured: of a run's methods, or of a folder of videos."""
