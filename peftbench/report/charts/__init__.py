"""Charts of runs without ink, and what draws them: SVG, matplotlib, a terminal."""
