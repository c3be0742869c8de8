"""What made the data, and the font, that come with the package."""
