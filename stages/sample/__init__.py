"""The sample stage: the test clips through each method."""
