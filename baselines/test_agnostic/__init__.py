"""Methods for unknown test label distributions."""
