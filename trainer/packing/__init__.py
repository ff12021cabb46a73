"""Image files decoded once into folders of arrays that are mapped into memory."""
