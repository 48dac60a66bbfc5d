"""Answers: boards and comparisons, computed from the store and from stored predictions."""
