"""The commands of `parity`, a file each; what they share is in options.py, outputs.py and reporting.py."""
