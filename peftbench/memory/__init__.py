"""Memory of a training step: predicted with fake tensors, measured on live models, stored with the run."""
