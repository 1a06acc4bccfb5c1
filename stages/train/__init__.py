"""The train stage: one run a method."""
