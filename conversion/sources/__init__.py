"""Where classifiers come from, besides the user's own functions."""
