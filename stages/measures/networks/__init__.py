"""Networks that score and are never trained against."""
