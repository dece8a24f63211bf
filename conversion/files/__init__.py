"""Files as they lie on the disk, before any library opens them."""
