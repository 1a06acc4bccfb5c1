"""The diffusion process: schedules, losses and samplers; pure torch."""
