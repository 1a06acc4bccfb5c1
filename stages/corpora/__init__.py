"""Where clips come from: rendered here, CREMA-D, a folder of videos."""
