"""What the pytest plugin is made of; parity/plugin.py holds the hooks and imports these when they are needed."""
