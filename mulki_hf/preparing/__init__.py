"""Look at all that a stream needs before it is trained: what is wrong, and what it will take."""
