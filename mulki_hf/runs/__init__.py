"""The folder of a run: who may write it, what it says of itself, how it goes on."""
