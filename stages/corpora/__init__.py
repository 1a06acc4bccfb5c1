"""Sources of clips: rendered here, CREMA-D, a folder of videos."""
