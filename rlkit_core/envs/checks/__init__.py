"""Nothing that an env returns is trusted: its first results one by one, and whole arrays once a rollout."""
