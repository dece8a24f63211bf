"""What an artefact is made from: the user's code and values, as a digest."""
