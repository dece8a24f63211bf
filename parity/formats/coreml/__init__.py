"""What the two formats of Core ML share."""
