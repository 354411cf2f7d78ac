"""Pictures of a run, of attention and of vectors: as PNG or SVG by matplotlib, and as characters in a terminal."""
