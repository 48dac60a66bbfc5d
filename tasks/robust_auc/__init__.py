"""Task `robust-auc`: the AUC of a rare positive class when test images are corrupted."""
