"""Methods of more than one task."""
