"""Where a run's memory goes: predicted before launch, and measured of a live model."""
