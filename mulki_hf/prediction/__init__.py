"""What the models of a stream take pictures for: found, read, classified, written down."""
