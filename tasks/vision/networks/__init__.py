"""Networks of the protocols."""
