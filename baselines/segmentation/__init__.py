"""Methods of `longtail-seg`."""
