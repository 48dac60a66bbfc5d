"""Where runs are carried out: worker processes on this machine, and cluster jobs that start them."""
