"""What frozen models say of a task, computed once."""
