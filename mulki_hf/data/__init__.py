"""What is learned: tasks, their images and prompts, and tables of what is known of each sample."""
