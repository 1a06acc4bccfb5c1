"""Download stage: makes or takes the corpus. One tar of media files for each speaker."""
