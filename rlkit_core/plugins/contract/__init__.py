"""What plugins must keep, as far as their code can be looked at without running it: signatures and annotations."""
