"""Clips as training and sampling see them: arrays, windows of frames, the network's tensors."""
