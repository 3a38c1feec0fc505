"""What a run uses: the lock that names it, and the choices that are made once."""
