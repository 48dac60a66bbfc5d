"""Data sets whose samples have several modalities: arrays in memory, recordings and pictures in files."""
