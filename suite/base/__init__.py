"""What knows nothing of runs and methods: errors, settings, whole-or-absent files, texts made safe, bounded
readers."""
