"""What the name of an env leads to, and which kind of env is made of it."""
