"""The contract of a file that somebody else converted: settled, put in words, written as the app's code."""
