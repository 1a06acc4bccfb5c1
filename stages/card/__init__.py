"""The model card of a trained method."""
