"""What a run leaves behind, and who may write it."""
