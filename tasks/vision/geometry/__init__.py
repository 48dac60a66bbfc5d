"""The geometry of a classifier's last layer: class means, scatter, classifier rows and margins."""
