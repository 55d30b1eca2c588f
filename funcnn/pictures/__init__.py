"""Pictures of `funcnn show`: images as tiles, curves, and their rendering in files."""
