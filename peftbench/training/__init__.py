"""Training, evaluation, checkpoints, prediction."""
