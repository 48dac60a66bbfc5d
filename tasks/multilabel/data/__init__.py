"""Data sets whose samples carry several labels: embedded scenes, Mulan's tables, and folders of images."""
