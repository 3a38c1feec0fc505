"""What run folders tell, read without importing what the runs used."""
