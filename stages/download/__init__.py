"""Download stage: makes, fetches or takes the corpus. One tar of media files for each speaker."""
