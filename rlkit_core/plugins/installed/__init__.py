"""What lies on ``sys.path``, read by hand: metadata folders, where a module would come from, who installed a file.

Nothing here imports a plugin, and nothing more of the standard library than a listing can afford.
"""
