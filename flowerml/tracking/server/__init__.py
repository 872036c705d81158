"""MLflow's own server, started and stopped by flowerml."""
