"""What the tasks on images share: data sets, augmentation, networks, recipes, groups, stored scores."""
