"""What test files share: a tiny CLIP and tiny tasks, a hub on loopback, how commands are started."""
