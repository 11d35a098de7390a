"""Statistics: resampled scores, variance components, intervals, tests, power. Pure functions."""
