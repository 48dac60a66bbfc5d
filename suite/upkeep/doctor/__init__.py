"""What works here and what to type where it does not: environment, folders, store, cluster."""
