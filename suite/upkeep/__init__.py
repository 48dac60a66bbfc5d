"""What works here, and what can be removed."""
