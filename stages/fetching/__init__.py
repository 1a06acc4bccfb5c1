"""Downloads: over HTTP, from Git LFS, of public weights."""
