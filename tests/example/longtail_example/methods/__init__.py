"""Methods of this package: every file with a CARD."""
