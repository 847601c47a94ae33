"""What can be ranked: the losses, classical metrics, and whatever plugins bring."""
