"""The fast path's building blocks: what torch computes, with less saved and fewer passes. Knows no method."""
