"""Methods of `neural-collapse`: learned and fixed geometries of the last layer."""
