"""One file for each view of a run."""
