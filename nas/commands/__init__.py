"""What the commands do: call the library and print; imported when a command runs, not for its help."""
