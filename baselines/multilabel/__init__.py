"""Methods of `multilabel`."""
