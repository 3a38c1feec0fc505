"""The config that a command line asks for, and the commands that show one."""
