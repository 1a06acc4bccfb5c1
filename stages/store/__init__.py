"""Files of the run: tables, weights and saved states, MLflow's records."""
