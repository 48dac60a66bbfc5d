"""Where runs are carried out: worker processes on this machine (`local`)."""
