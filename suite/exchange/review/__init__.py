"""Looking a stranger's results over, in full, before anything of them comes in."""
