"""The embedded corpus: talking heads rendered and spoken by this project."""
