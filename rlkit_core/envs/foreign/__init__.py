"""Experience from elsewhere: runners of other people's, which step no env that this library has made."""
