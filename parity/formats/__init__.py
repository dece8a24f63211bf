"""What depends on the format of a converted file."""
