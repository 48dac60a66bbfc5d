"""Augmentation of whole batches and of single images."""
