"""Training: the loop, what it saves, what a step computes."""
