"""Methods of `robust-auc`."""
