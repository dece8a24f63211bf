"""What the suite file names: models, images, records, known issues, and what a command selects of them."""
