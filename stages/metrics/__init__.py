"""The metrics stage: one method's videos of the test clips against the truth."""
