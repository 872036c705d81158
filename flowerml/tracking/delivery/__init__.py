"""Replay run journals into MLflow in order, with exactly-once effect across disconnects."""
