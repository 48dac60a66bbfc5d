"""Methods of `longtail-cls`."""
