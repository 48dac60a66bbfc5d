"""Data sets: readers, checks, manifests."""
